"""The chain: what is run, what is not run again, what is never touched, and what a failure says."""

from __future__ import annotations

import io
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

import speechless
from speechless.quickstart import serve, table
from speechless.quickstart.__main__ import main
from speechless.quickstart.record import FILE, Record
from speechless.quickstart.run import StepError, environment, run_all
from speechless.quickstart.screen import Screen
from speechless.quickstart.steps import Chain, Step

CHAIN = Chain(
    Path("tiny/base"),
    (Path("tiny/train.jsonl"),),
    Path("tiny/heldout.jsonl"),
    Path("tiny/text.txt"),
    tiny=True,
)


class Shown(Screen):
    """A screen whose text can be read."""

    def __init__(self) -> None:
        self.text = io.StringIO()
        super().__init__(Console(file=self.text, width=200))


@pytest.fixture
def writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command `writes NAME WORD`: it adds the word to NAME/file, and says so."""
    (tmp_path / "writes.py").write_text(
        "import pathlib, sys\n"
        "name, word = sys.argv[1:]\n"
        "if word == 'fails': sys.exit('it broke')\n"
        "file = pathlib.Path(name, 'file'); file.parent.mkdir(exist_ok=True)\n"
        "file.open('a').write(word); print('wrote', word)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def step(name: str, word: str = "x", **more: object) -> Step:
    return Step(name, f"make {name}", ("writes", name, word), (Path(name, "file"),), **more)  # type: ignore[arg-type]


@pytest.mark.usefixtures("writes")
def test_what_is_done_is_not_done_again_and_what_changed_is_with_all_behind_it(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()

    def content() -> str:
        return " ".join((folder / name / "file").read_text() for name in "abc")

    run_all(folder, [step("a"), step("b"), step("c")], Shown())
    again = Shown()
    run_all(folder, [step("a"), step("b"), step("c")], again)
    assert content() == "x x x"
    assert again.text.getvalue().count("there already") == 3
    run_all(folder, [step("a"), step("b", "y"), step("c")], Shown())
    assert content() == "x y x"
    assert again.text.getvalue().count("$ python -m writes a x") == 1
    (folder / "c" / "file").unlink()
    run_all(folder, [step("a"), step("b", "y"), step("c")], Shown())
    assert content() == "x y x"


@pytest.mark.usefixtures("writes")
def test_a_file_that_a_step_reads_is_part_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    settings = folder / "settings"
    for text, content in (("1", "x"), ("1", "x"), ("2", "x"), ("2", "x")):
        settings.write_text(text)
        shown = Shown()
        run_all(folder, [step("a", reads=(Path("settings"),)), step("b")], shown)
        assert (folder / "b" / "file").read_text() == content
    assert shown.text.getvalue().count("there already") == 2
    settings.write_text("3")
    shown = Shown()
    run_all(folder, [step("a", reads=(Path("settings"),)), step("b")], shown)
    assert shown.text.getvalue().count("there already") == 0


def test_what_is_exported_is_shown_and_counts_but_never_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUM_TRAIN_EPOCHS", "7")
    monkeypatch.setenv("TEST_MODEL_PATH", "/models/precious")
    monkeypatch.setenv("PYTHON", "/usr/bin/other")
    train, merge = (
        next(each for each in CHAIN.steps() if each.name == name) for name in ("fine-tune", "merge")
    )
    assert "NUM_TRAIN_EPOCHS=7" in train.shown()
    assert not {"TEST_MODEL_PATH", "PYTHON"} & (set(environment(train)) | set(environment(merge)))


@pytest.mark.usefixtures("writes")
def test_what_somebody_else_put_there_is_not_touched(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "file").write_text("precious")
    with pytest.raises(StepError, match=r"out/a is there already, and this quickstart did not make it"):
        run_all(folder, [step("a")], Shown())
    assert (folder / "a" / "file").read_text() == "precious"
    assert not (folder / FILE).exists()


@pytest.mark.usefixtures("writes")
def test_a_failure_shows_what_was_said_and_where_all_of_it_is(tmp_path: Path) -> None:
    folder, screen = tmp_path / "out", Shown()
    folder.mkdir()
    with pytest.raises(
        StepError, match=r"step 2 \(b\) failed with exit status 1; all of its output is in .*02-b\.log"
    ):
        run_all(folder, [step("a"), step("b", "fails"), step("c")], screen)
    assert "it broke" in screen.text.getvalue()
    assert not (folder / "c").exists()
    run_all(folder, [step("a"), step("b"), step("c")], Shown())
    assert (folder / "a" / "file").read_text() == "x"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', '{"a": {"key": 5, "seconds": "long"}}'])
def test_a_record_that_is_broken_counts_for_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    record = Record(tmp_path)
    assert not record.done(step("a"), "")
    assert record.seconds(step("a")) == 0


def test_every_command_is_one_that_the_library_has() -> None:
    for each in CHAIN.steps():
        words = [word for word in each.words[1:] if word.startswith("--")]
        if each.words[0] == "speechless.finetune":
            module, flags = "speechless.finetune", []
        else:
            module, flags = each.words[0], words
        more = [each.words[1]] if module in ("speechless.tiny", "speechless.quant") else []
        done = subprocess.run(
            [sys.executable, "-m", module, *more, "--help"], capture_output=True, text=True, check=True
        )
        assert [flag for flag in flags if flag not in done.stdout] == []
        assert each.shown().endswith(" ".join(["python -m", *each.words]))


def test_a_real_model_has_its_own_settings(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    chain = Chain(tmp_path / "m", (tmp_path / "rows.jsonl",), None, None, tiny=False)
    train = next(each for each in chain.steps() if each.name == "fine-tune")
    assert train.env == {"BASE_MODEL_PATH": str(tmp_path / "m"), "DATASET": str(tmp_path / "rows.jsonl")}
    assert all(each.name != "base model" for each in chain.steps())
    quantize = next(each for each in chain.steps() if each.name == "quantize")
    assert "--verify_text" not in quantize.words


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "m"], "--model needs --dataset"),
        (["--dataset", "d"], "--dataset needs --model"),
        (["--model", "nowhere", "--dataset", "d"], "--model nowhere: there is no such file or folder"),
        (["--model", "m", "--dataset", "d", "--preset", "small"], "--preset has no effect with --model"),
        (["--port", "0"], "--port: must be from 1 to 65535, not 0"),
        (["--modle", "m"], "did you mean --model?"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_disk_that_is_full_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 5_000_000})())
    assert main(["--out", str(tmp_path / "o")]) == 1
    assert "5 MB are free, 200 are needed; give another --out" in " ".join(capsys.readouterr().out.split())


def test_a_port_in_use_is_passed_over() -> None:
    with socket.socket() as taken:
        taken.bind((serve.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert port < serve.free_port(port) <= port + 99


@pytest.mark.parametrize("checkout", [True, False])
def test_what_to_try_next_is_there(checkout: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not checkout:
        monkeypatch.setattr(
            speechless, "__file__", str(tmp_path / "site-packages" / "speechless" / "__init__.py")
        )
    screen = Shown()
    table.next_steps(screen.console, tmp_path, "python -m speechless.api.server start")
    text = screen.text.getvalue()
    assert ("make quickstart MODEL=" in text) == checkout
    assert ("make demo" in text) == checkout
    assert ("speechless quickstart --model /path/to/model" in text) != checkout
