"""Pretraining with new weights: a folder that has a configuration and a tokenizer, and no model yet."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from speechless.contract import Objective
from speechless.finetune.finetune import main
from tests.library.training import ROWS, write

pytest_plugins = ("tests.library.model_fixtures",)
pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize(
    ("left", "told"),
    [
        ([], "no weights: neither model.safetensors nor"),
        (["pytorch_model.bin"], "its weights are pickled (pytorch_model.bin), and pickles are never read"),
    ],
)
def test_weights_that_are_not_there_are_told_before_the_rows_are_made(
    left: list[str], told: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows may take an hour, and the process that trains would find it after them."""
    shape = shutil.copytree(model, tmp_path / "shape", ignore=shutil.ignore_patterns("*.safetensors"))
    for name in left:
        (shape / name).touch()
    rows = write(ROWS[Objective.SFT], tmp_path / "rows.jsonl")
    words = [
        "--model_name_or_path",
        str(shape),
        "--dataset",
        str(rows),
        "--output_dir",
        str(tmp_path / "out"),
    ]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert told in said
    assert "(100 %)" not in said
    assert not (tmp_path / "out" / "run.json").exists()


def test_a_model_of_new_weights_learns_and_a_seed_makes_it_again(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(model, tmp_path / "shape", ignore=shutil.ignore_patterns("*.safetensors"))
    config = tmp_path / "shape" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"initializer_range": 0.02}))
    write(ROWS[Objective.PRETRAIN], tmp_path / "rows.jsonl")
    made = {}
    for name, seed in (("first", 3), ("again", 3), ("other", 4)):
        words = f"""--model_name_or_path shape --dataset rows.jsonl --objective pretrain --pretrain_from_scratch
            --full_finetune --model_max_length 64 --max_steps 12 --learning_rate 5e-3 --eval_dataset_size 0
            --gradient_accumulation_steps 1 --bits 32 --seed {seed} --output_dir {name}""".split()
        assert main(words) == 0
        made[name] = (tmp_path / name / "model.safetensors").read_bytes()
    assert made["first"] == made["again"]
    assert made["first"] != made["other"]
    told = [json.loads(line) for line in (tmp_path / "first" / "trainer_log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in told if "loss" in line]
    words_known = json.loads((model / "config.json").read_text())["vocab_size"]
    assert losses[0] == pytest.approx(math.log(words_known), rel=0.15), "it knows nothing at first"
    assert losses[-1] < 0.7 * losses[0]
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "first")
    assert loaded.config.vocab_size == words_known
