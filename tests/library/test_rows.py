"""Rows as numbers: made once, the same by any number of processes, kept by all that decides them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from speechless.contract import FailureReason, Objective
from speechless.data import survey
from speechless.errors import StageError
from speechless.finetune import rows
from speechless.finetune.finetune import main
from speechless.finetune.rows import Wanted, key, prepare
from speechless.finetune.tokens import Encoding
from tests.library.training import write

pytest_plugins = ("tests.library.model_fixtures",)
WORDS = [{"prompt": f"sum of {number}", "completion": f" return {number} (2)"} for number in range(1500)]


def wanted(
    model: Path, file: Path, *, digest: str = "sha256:1", heldout: float = 0.1, longest: int = 64
) -> Wanted:
    return Wanted(survey(file, seed=3, eval_rows=heldout), [digest], Encoding(model, Objective.SFT, longest))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(WORDS, tmp_path / "rows.jsonl")


def going(_done: int, _all: int) -> None:
    """Nobody stops it."""


def test_several_processes_make_the_bytes_of_one(
    model: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, made = wanted(model, file), {}
    monkeypatch.setattr(rows, "ROWS_A_PROCESS", 100)
    for processes in (1, 3):
        monkeypatch.setattr(rows, "usable_cpus", lambda wished=processes: wished)
        found = prepare(asked, tmp_path / str(processes), going)
        assert found.heldout is not None
        made[processes] = (found.train.read_bytes(), found.heldout.read_bytes(), found.counts)
    assert made[1] == made[3]
    assert made[1][2].rows == 1350


def test_they_are_found_again_by_all_that_decides_them(
    model: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, folder = wanted(model, file), tmp_path / "kept"
    first = prepare(asked, folder, going)
    copied = shutil.copytree(model, tmp_path / "copied")
    with monkeypatch.context() as patched:
        patched.setattr(rows, "_make", None)
        again = prepare(replace(asked, encoding=replace(asked.encoding, tokenizer=copied)), folder, going)
    assert again == first
    (copied / "tokenizer_config.json").write_text("{}")
    others = [
        wanted(model, file, digest="sha256:2"),
        wanted(model, file, heldout=0.2),
        wanted(model, file, longest=32),
        replace(asked, encoding=replace(asked.encoding, objective=Objective.PRETRAIN)),
        replace(asked, encoding=replace(asked.encoding, packing=True)),
        replace(asked, encoding=replace(asked.encoding, skip=True)),
        replace(asked, encoding=replace(asked.encoding, remove=True)),
        replace(asked, encoding=replace(asked.encoding, tokenizer=copied)),
    ]
    keys = {key(each) for each in (asked, *others)}
    monkeypatch.setattr(rows, "_code", lambda: "of a later commit")
    assert len(keys | {key(asked)}) == len(others) + 2


def test_a_stop_leaves_nothing_and_the_next_run_makes_them(model: Path, file: Path, tmp_path: Path) -> None:
    folder, asked = tmp_path / "kept", wanted(model, file)

    def stop(done: int, _all: int) -> None:
        if done > 300:
            raise StageError(FailureReason.INTERRUPTED, "stopped by a signal")

    with pytest.raises(StageError, match="stopped by a signal"):
        prepare(asked, folder, stop)
    assert list(folder.iterdir()) == []
    assert prepare(asked, folder, going).counts.rows == 1350


def test_a_stop_is_heard_before_the_first_rows_are_made(model: Path, file: Path, tmp_path: Path) -> None:
    """The processes that make them load their libraries for seconds."""
    told: list[int] = []

    def stop(done: int, _all: int) -> None:
        told.append(done)
        raise StageError(FailureReason.INTERRUPTED, "stopped by a signal")

    with pytest.raises(StageError, match="stopped by a signal"):
        prepare(wanted(model, file), tmp_path / "kept", stop)
    assert told == [0]


def test_what_is_torn_is_made_again(model: Path, file: Path, tmp_path: Path) -> None:
    asked = wanted(model, file)
    first = prepare(asked, tmp_path / "kept", going)
    whole = first.train.read_bytes()
    (first.train.parent / "rows.json").write_text("{")
    assert prepare(asked, tmp_path / "kept", going).train.read_bytes() == whole


def test_what_was_not_used_for_long_goes_and_what_a_killed_run_left(
    model: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "KEPT", 2)
    folder = tmp_path / "kept"
    places = []
    for number in range(3):
        places.append(prepare(wanted(model, file, digest=f"sha256:{number}"), folder, going).train.parent)
        old = time.time() - 1000 + number
        os.utime(places[-1], (old, old))
    for name, age in ((".partial-new", 60), (".partial-old", 2 * 86_400)):
        (folder / name).mkdir()
        (folder / name / "train.arrow").write_bytes(b"x")
        for path in (folder / name / "train.arrow", folder / name):
            os.utime(path, (time.time() - age, time.time() - age))
    last = prepare(wanted(model, file, digest="sha256:last"), folder, going).train.parent
    assert set(folder.iterdir()) == {last, places[2], folder / ".partial-new"}


def test_a_process_that_was_killed_is_told(
    model: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = rows._Child.__init__

    def killed(child: rows._Child, encoding: Encoding) -> None:
        made(child, encoding)
        child._process.kill()

    monkeypatch.setattr(rows._Child, "__init__", killed)
    with pytest.raises(RuntimeError, match="the process that makes tokens of rows was ended by SIGKILL"):
        prepare(wanted(model, file), tmp_path / "kept", going)
    assert list((tmp_path / "kept").iterdir()) == []


def test_rows_of_which_nothing_is_left_to_learn_are_refused(model: Path, tmp_path: Path) -> None:
    long = write([{"prompt": "sum of x " * 200, "completion": " return x"}] * 8, tmp_path / "long.jsonl")
    with pytest.raises(
        StageError, match=r"long.jsonl: no row has a token to learn within maxLength \(64\)"
    ) as told:
        prepare(wanted(model, long, heldout=0), tmp_path / "kept", going)
    assert told.value.reason is FailureReason.DATASET_INVALID


REFUSES = (
    "{% for m in messages %}{% if m.content == 'bad' %}{{ raise_exception('a word that is not liked') }}{% endif %}"
    "{{ m.role }}: {{ m.content }}\n{% endfor %}"
)


def test_rows_that_the_template_refuses_are_left_out_and_counted(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chat = shutil.copytree(model, tmp_path / "chat")
    (chat / "chat_template.jinja").write_text(REFUSES)
    answers = ["x", "y", "bad", "z"]
    turns = [[{"role": "user", "content": "sum"}, {"role": "assistant", "content": each}] for each in answers]
    file = write([{"messages": each} for each in turns], tmp_path / "rows.jsonl")
    words = ["--model_name_or_path", str(chat), "--dataset", str(file), "--output_dir", str(tmp_path / "out")]
    words += ["--max_steps", "1", "--eval_dataset_size", "0", "--model_max_length", "64"]
    assert main(words) == 1
    assert "rows.jsonl:3: " in (told := capsys.readouterr().err)
    assert "a word that is not liked" in told
    assert main([*words, "--bad_rows", "skip"]) == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (metrics["train/rows"], metrics["train/rows_bad"]) == (3, 1)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=lambda one: one.name)
def test_a_command_that_is_stopped_meanwhile_leaves_no_run(
    model: Path, tmp_path: Path, sent: signal.Signals
) -> None:
    many = write(WORDS * 40, tmp_path / "rows.jsonl")
    words = [
        "--model_name_or_path",
        str(model),
        "--dataset",
        str(many),
        "--output_dir",
        str(tmp_path / "out"),
    ]
    told = tmp_path / "told"
    with told.open("w") as file:
        command = subprocess.Popen(
            [sys.executable, "-m", "speechless.finetune.finetune", *words, "--model_max_length", "64"],
            stderr=file,
            env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")},
        )
    while "making tokens" not in told.read_text() or not list((tmp_path / "cache").rglob("train.arrow")):
        assert command.poll() is None, told.read_text()
        time.sleep(0.01)
    command.send_signal(sent)
    assert command.wait(60) == 1
    assert "stopped by a signal: " in told.read_text().splitlines()[-1]
    assert not list((tmp_path / "cache").rglob(".partial-*"))
    assert not (tmp_path / "out" / "run.json").exists()
