"""A run that cannot begin changes nothing of an earlier one's folder, however late that is found."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from speechless.contract import Objective
from speechless.data import read_rows, survey
from speechless.finetune.finetune import main
from tests.library.training import ROWS, SETTINGS, write

pytest_plugins = ("tests.library.model_fixtures",)
pytestmark = pytest.mark.timeout(300)


def words(model: Path, *more: str) -> list[str]:
    """A small run of the current folder."""
    given = f"""--model_name_or_path {model} --dataset rows.jsonl --output_dir out --eval_dataset_size 0 --max_steps 2
        --model_max_length {SETTINGS.max_length} --per_device_train_batch_size 4 --lora_r 4"""
    return [*given.split(), *more]


def everything(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below, but of the lock and logs."""
    found = {}
    for place in sorted({path.parent for path in folder.rglob("*") if path.is_file()}):
        found |= {f"{place.relative_to(folder)}/{name}": told for name, told in digest_files(place).items()}
    return found


def digest_files(place: Path) -> dict[str, str]:
    """Of the files directly in a folder."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(place.iterdir())
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(ROWS[Objective.SFT], tmp_path / "rows.jsonl")
    return tmp_path


REFUSED = {
    "--bits 16": "precision BF16 needs a GPU",
    "--optim adamw_bnb_8bit": "needs a GPU",
    "--lora_modules none_such": "none_such is no linear layer of this model",
    "--attn_implementation flash_attention_2": "needs a GPU, bfloat16 and the package flash-attn",
}
"""What the process that trains finds out: the device, and the model's layers."""


@pytest.mark.parametrize("flags", REFUSED)
def test_a_restart_that_cannot_begin_leaves_the_result(
    flags: str, model: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(model)) == 0
    before = everything(here / "out")
    assert main(words(model, *flags.split(), "--restart")) in (1, 2)
    assert REFUSED[flags] in capsys.readouterr().err
    assert everything(here / "out") == before


def test_a_run_that_was_refused_is_corrected_in_the_same_folder(
    model: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(model, "--lora_modules", "none_such")) == 2
    assert main(words(model)) == 0
    assert json.loads((here / "out" / "run.json").read_text())["lora"]["target_modules"] == []


def test_a_base_that_was_changed_in_its_place_is_another_run(
    model: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its path is the same: a result of the former weights must not pass for one of these."""
    base = shutil.copytree(model, here / "base")
    assert main(words(base)) == 0
    before = everything(here / "out")
    weights = load_file(base / "model.safetensors")
    first = next(iter(weights))
    save_file(weights | {first: weights[first] * 1.5}, base / "model.safetensors", {"format": "pt"})
    capsys.readouterr()
    assert main(words(base)) == 2
    assert "holds a completed run of other settings or other data (model)" in capsys.readouterr().err
    assert everything(here / "out") == before
    assert main(words(base, "--restart")) == 0


def test_a_restart_begins_anew(model: Path, here: Path) -> None:
    assert main(words(model)) == 0
    (here / "out" / "checkpoint-1").mkdir()
    before = everything(here / "out" / "latest" / "adapter_model")
    assert main(words(model, "--restart", "--max_steps", "3")) == 0
    assert (here / "out" / "latest").resolve().name == "checkpoint-3"
    assert sorted(path.name for path in (here / "out").glob("checkpoint-*")) == ["checkpoint-3"]
    assert everything(here / "out" / "latest" / "adapter_model") != before


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (
            "--eval_steps 1 --eval_strategy steps --load_best_model_at_end",
            "loadBestModelAtEnd needs held-out rows",
        ),
        ("--do_predict", "--do_predict needs held-out rows"),
    ],
)
def test_held_out_rows_of_which_nothing_is_learned_are_told_before_the_first_step(
    flags: str, told: str, model: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = here / "rows.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    # Which rows are held out follows from the seed and their number.
    chosen = survey(file, seed=3, eval_rows=2)
    held = {int(row.where.rpartition(":")[2]) for row in read_rows(chosen, heldout=True)}
    for number in held:
        rows[number - 1]["prompt"] = "sum of the numbers " * 100
    write(rows, file)
    given = [word for word in words(model, *flags.split()) if word not in ("--eval_dataset_size", "0")]
    assert main([*given, "--eval_dataset_size", "2", "--seed", "3"]) == 1
    assert told in capsys.readouterr().err
    assert not (here / "out" / "run.json").exists()
