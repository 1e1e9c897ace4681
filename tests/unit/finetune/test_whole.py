"""A folder that is whole or not there."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.finetune.__main__ import main
from speechless.finetune.whole import is_free, leftovers, whole


def write(folder: Path) -> None:
    (folder / "config.json").write_text("{}")
    (folder / "weights").write_text("w")


@pytest.mark.parametrize("there", [False, True], ids=["new", "empty"])
def test_it_appears_at_the_end(tmp_path: Path, there: bool) -> None:
    out = tmp_path / "deep" / "out"
    if there:
        out.mkdir(parents=True)
    with whole(out) as partial:
        write(partial)
        assert not (out / "config.json").exists()
        assert partial.stat().st_dev == tmp_path.stat().st_dev
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "weights"]
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    # As mkdir made it: not the 0700 of a temporary folder.
    (tmp_path / "plain").mkdir()
    assert out.stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "empty").mkdir()

    def fail(partial: Path) -> None:
        write(partial)
        raise error

    for out in (tmp_path / "new", tmp_path / "empty"):
        with pytest.raises(error), whole(out) as partial:
            fail(partial)
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


def test_what_a_killed_run_left_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "out" / ".partial").mkdir(parents=True)
    write(tmp_path / "out" / ".partial")
    (tmp_path / ".new.partial").mkdir()
    assert is_free(tmp_path / "out")
    for out in (tmp_path / "out", tmp_path / "new"):
        with whole(out) as partial:
            assert not list(partial.iterdir())
            write(partial)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "out"]


def test_a_link_to_an_empty_folder_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "out").symlink_to("volume")
    with whole(tmp_path / "out") as partial:
        write(partial)
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "volume" / "config.json").is_file()


@pytest.mark.parametrize("what", ["folder", "file", "dangling"])
def test_nothing_is_overwritten(tmp_path: Path, what: str) -> None:
    out = tmp_path / "out"
    if what == "folder":
        out.mkdir()
        (out / "mine").touch()
    elif what == "file":
        out.touch()
    else:
        out.symlink_to("nowhere")
    assert not is_free(out)
    with pytest.raises(StageError, match="nothing is overwritten") as caught, whole(out):
        pass
    assert caught.value.reason is FailureReason.INVALID_SPEC
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


WRITER = """
import sys, time
from pathlib import Path
from speechless.finetune.whole import whole
with whole(Path(sys.argv[1])) as partial:
    (partial / "config.json").write_text("{}")
    print("writes", flush=True)
    time.sleep(100)
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that writes `x/merged` for as long as it lives."""
    (tmp_path / "x").mkdir()
    argv = [sys.executable, "-c", WRITER, str(tmp_path / "x" / "merged")]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "writes\n"
    yield process
    process.kill()
    process.communicate()


def test_what_a_process_writes_is_nobody_elses(tmp_path: Path, writer: subprocess.Popen[str]) -> None:
    with (
        pytest.raises(StageError, match="another process writes it") as caught,
        whole(tmp_path / "x" / "merged"),
    ):
        pass
    assert caught.value.reason is FailureReason.INVALID_SPEC
    assert leftovers(tmp_path / "x") == []
    with whole(tmp_path / "x" / "other") as partial:
        write(partial)
    assert (tmp_path / "x" / ".merged.partial" / "result" / "config.json").is_file()
    assert writer.poll() is None


def test_what_a_killed_process_left_is_told_and_removed(
    tmp_path: Path,
    writer: subprocess.Popen[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("task.env", "run_finetune.sh"):
        (tmp_path / "x" / name).touch()
    assert main(["list"]) == 0
    assert capsys.readouterr() == ("x\n", "")
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    assert main(["list"]) == 0
    out, error = capsys.readouterr()
    assert out == "x\n"
    assert error.startswith("speechless finetune: x/.merged.partial was left by a killed process")
    # Somebody else's folders of such a name stay.
    theirs = tmp_path / "x" / ".mine.partial"
    theirs.mkdir()
    write(theirs)
    (theirs / "lock").touch()
    with whole(tmp_path / "x" / "other") as partial:
        write(partial)
    names = sorted(path.name for path in (tmp_path / "x").iterdir())
    assert names == [".mine.partial", "other", "run_finetune.sh", "task.env"]
