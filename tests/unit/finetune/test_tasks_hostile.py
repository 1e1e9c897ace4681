"""Task directories as they should not be: odd names, a file from Windows, values without quotes, a full disk."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from speechless.finetune import tasks
from speechless.finetune.__main__ import main


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and a trainer that says that it was started."""
    monkeypatch.chdir(tmp_path)
    for name in ("SPEECHLESS_ROOT", "DATASET"):
        monkeypatch.delenv(name, raising=False)
    program = tmp_path / "trainer"
    program.write_text("#!/bin/bash\ntouch trained\n")
    program.chmod(0o755)
    monkeypatch.setenv("PYTHON", str(program))
    monkeypatch.setenv("BASE_MODEL_PATH", "m")
    return tmp_path


@pytest.mark.parametrize("name", ["a b", "x'y$(touch pwned)", "ünï", "*"])
def test_a_name_is_told_so_that_a_shell_takes_it(
    name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "--task_name", name]) == 0
    told = capsys.readouterr().out.partition(", then: ")[2]
    assert shlex.split(told)[-2:] == ["--task_name", name]
    assert main(["run", "--task_name", name]) == 0
    assert (here / name / "trained").is_file()


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "\x1b[1mx"])
def test_a_name_that_no_line_shows_is_refused(
    name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["init", "--task_name", name])
    error = capsys.readouterr().err
    assert "cannot be printed" in error
    assert error.count("\n") == 1
    assert not [path for path in here.iterdir() if path.is_dir()]


def test_a_link_to_nothing_is_there_already(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "mine").symlink_to("nowhere")
    assert main(["init", "--task_name", "mine"]) == 0
    assert "mine exists already" in capsys.readouterr().out


def test_a_template_that_is_copied_in_part_leaves_nothing(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copied: list[Any] = []

    def full(source: Any, target: Any, **_: Any) -> Any:
        if len(copied) == 2:
            raise OSError(28, "No space left on device", source, None, target)
        copied.append(Path(target).write_bytes(Path(source).read_bytes()))
        return target

    monkeypatch.setattr(shutil.copytree, "__kwdefaults__", None)
    monkeypatch.setattr(shutil.copytree, "__defaults__", (False, None, full, False, False))
    assert main(["init", "--task_name", "mine"]) == 1
    error = capsys.readouterr().err
    assert ": No space left on device\n" in error
    assert error.count("\n") == 1
    assert len(copied) == 2
    assert [path.name for path in here.iterdir()] == ["trainer"]


@pytest.mark.parametrize("command", [["run"], ["run", "--dry-run"], ["pretrain"]])
def test_lines_of_windows_are_told_before_bash_reads_them(
    command: list[str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["init", "--task_name", "x"])
    file = here / "x" / "task.env"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    capsys.readouterr()
    assert main([*command, "--task_name", "x"]) == 2
    error = capsys.readouterr().err
    assert error == (
        "speechless finetune: x/task.env: its lines end as on Windows, which bash does not read: "
        "sed -i 's/\\r$//' task.env\n"
    )
    assert not (here / "x" / "trained").exists()


@pytest.mark.parametrize(
    "line", ["DATASET=my touch pwned", "DATASET=my | touch pwned", "LORA_R=8 touch pwned"]
)
def test_a_value_whose_rest_bash_would_run_is_refused(
    line: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["init", "--task_name", "x"])
    with (here / "x" / "task.env").open("a") as file:
        file.write(f"{line}\n")
    capsys.readouterr()
    assert main(["run", "--task_name", "x"]) == 2
    assert "put the whole value in quotes" in capsys.readouterr().err
    assert not list(here.rglob("pwned"))
    # A value that bash computes is the owner's to write.
    text = (here / "x" / "task.env").read_text().replace(line, "DATASET=$(touch computed; echo my)")
    (here / "x" / "task.env").write_text(text)
    assert main(["run", "--task_name", "x"]) == 0
    assert (here / "x" / "computed").is_file()


def test_a_plan_names_the_data_that_are_missing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["init", "--task_name", "x"])
    (here / "x" / tasks.ENV).write_text("LORA_R=8\n")
    capsys.readouterr()
    assert main(["run", "--task_name", "x", "--dry-run"]) == 1
    assert (
        capsys.readouterr().err == "speechless finetune: x/task.env: DATASET is empty: set it, or export it\n"
    )
