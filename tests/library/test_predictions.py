"""Answers to the rows held out: by the trained model, in the rows' order, the same each time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from speechless.contract import Objective
from speechless.finetune.finetune import main
from speechless.generate import Sampling
from speechless.generate.hf import HuggingFace
from tests.library.training import ROWS, write

pytest_plugins = ("tests.library.model_fixtures",)


def predicted(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]


@pytest.fixture
def words(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    rows = [{"messages": [{"role": "user", "content": f"sum of {word}"}, {"role": "assistant", "content": "return x"}]}
            for word in "abcdefgh"]  # fmt: skip
    write(rows, tmp_path / "rows.jsonl")
    return ["--model_name_or_path", str(model), "--dataset", "rows.jsonl", "--eval_dataset_size", "3", "--do_predict",
            "--max_steps", "12", "--learning_rate", "5e-3", "--gradient_accumulation_steps", "1",
            "--per_device_train_batch_size", "4", "--max_new_tokens", "8"]  # fmt: skip


@pytest.mark.timeout(240)
def test_what_was_learned_is_answered(words: list[str], tmp_path: Path) -> None:
    assert main(words) == 0
    lines = predicted(tmp_path / "outputs")
    assert [line["reference"] for line in lines] == ["return x"] * 3
    assert [line["prediction"] for line in lines] == ["return x"] * 3, "the model learned it"
    assert {line["finish_reason"] for line in lines} == {"stop"}
    asked = {line["prompt"] for line in lines}
    assert len(asked) == 3
    assert all(prompt.startswith("<|user|>sum of ") and prompt.endswith("<|assistant|>") for prompt in asked)
    assert not list((tmp_path / "outputs").rglob("adapter_model/predictions.jsonl"))
    assert not (tmp_path / "outputs" / "README.md").exists(), "the result has its card, the folder has none"
    assert main([*words, "--restart"]) == 0
    assert predicted(tmp_path / "outputs") == lines


@pytest.mark.timeout(240)
def test_a_whole_models_answers_are_those_of_its_folder(words: list[str], tmp_path: Path) -> None:
    # Learned little, so that answers differ from the row's.
    words[words.index("--max_steps") + 1] = "1"
    assert main([*words, "--full_finetune"]) == 0
    lines = predicted(tmp_path / "outputs")
    with HuggingFace(tmp_path / "outputs") as generator:
        ids = [generator.encode(line["prompt"], special=False) for line in lines]
        again = generator.continued(ids, Sampling(8))
    assert [line["prediction"] for line in lines] == [answer.text for answer in again]
    assert [line["finish_reason"] for line in lines] == [answer.finish_reason for answer in again]


@pytest.mark.timeout(240)
def test_pairs_are_asked_for_the_better_answer(words: list[str], tmp_path: Path) -> None:
    write(ROWS[Objective.DPO], tmp_path / "rows.jsonl")
    assert main([*words, "--objective", "dpo", "--temperature", "1.0", "--top_p", "0.9"]) == 0
    lines = predicted(tmp_path / "outputs")
    assert {line["prompt"] for line in lines} < {row["prompt"] for row in ROWS[Objective.DPO]}
    by_prompt = {row["prompt"]: row["chosen"] for row in ROWS[Objective.DPO]}
    assert [line["reference"] for line in lines] == [by_prompt[line["prompt"]] for line in lines]
