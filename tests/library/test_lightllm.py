"""LightLLM's command line on rows as LightLLM had them: a JSON list, from training to a merged model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from speechless.finetune.__main__ import main as finetune

pytest_plugins = ("tests.library.model_fixtures",)


def test_its_rows_are_trained_and_merged(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"input": f"sum of {word}", "output": f" return {word} (2)"} for word in "abcdefgh"]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    words = ["--model_name_or_path", str(model)]
    train = ["--mode", "train", "--training_method", "sft", *words, "--train_file", "rows.json", "--output_dir", "out",
             "--learning_rate", "5e-3", "--num_train_epochs", "6", "--max_seq_length", "64"]  # fmt: skip
    assert finetune(train) == 0
    numbers = json.loads((tmp_path / "out" / "train_results.json").read_text())
    assert numbers["train/rows"] == 7  # a fiftieth is held out, at least one
    losses = [json.loads(line)["loss"] for line in (tmp_path / "out" / "trainer_log.jsonl").read_text().splitlines()
              if "loss" in json.loads(line)]  # fmt: skip
    assert losses[-1] < losses[0] - 1
    merge = [
        "--mode",
        "merge_lora",
        *words,
        "--lora_model_path",
        "out/latest",
        "--merged_model_path",
        "merged",
    ]
    assert finetune(merge) == 0
    assert (tmp_path / "merged" / "model.safetensors").is_file()


def test_rows_with_rewards_are_told(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rows.json"
    file.write_text(json.dumps([{"prompt": "sum of", "response": " x", "reward": 0.5}]))
    words = ["--mode", "train", "--model_name_or_path", str(model), "--train_file", str(file)]
    assert finetune([*words, "--output_dir", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert "rows.json, row 1: " in said
    assert "prompt, response, reward" in said
