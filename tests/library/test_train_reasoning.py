"""<think> and </think> become tokens, are learned, and are in the result whatever the method."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from speechless.contract import METHODS, FailureReason, Method, Objective, Tokenizer
from speechless.data.tokenizer import load_tokenizer
from speechless.errors import StageError
from speechless.finetune.finetune import main
from speechless.finetune.merge import merge
from speechless.finetune.merge_peft_adapters import main as merged
from speechless.finetune.models import add_tokens, load_model
from speechless.finetune.tokenizer import REASONING, added, prepare
from tests.library import merge_models
from tests.library.training import SETTINGS, Record, digest, encoded, job, run, write

pytest_plugins = ("tests.library.model_fixtures",)
pytestmark = pytest.mark.timeout(300)
WANTED = Tokenizer(add_reasoning_tokens=True)
ROWS = [{"prompt": "sum of", "completion": "<think>the x</think>return x"}] * 4
PAIRS = [{"prompt": "sum of", "chosen": "<think>x</think> return", "rejected": "if"}] * 4


def base_of(kind: str, model: Path, folder: Path) -> Path:
    """The model as it is; with an output of its own; with rows that no token has."""
    if kind == "untied":
        return merge_models.untied(model, folder)
    if kind == "spare rows":
        shutil.copytree(model, folder)
        made = AutoModelForCausalLM.from_pretrained(model)
        made.resize_token_embeddings(len(load_tokenizer(model)) + 7)
        made.save_pretrained(folder)
        return folder
    return model


def wanted(base: Path, folder: Path, method: Method, steps: int = 25) -> Any:
    """A job on rows with the new tokens."""
    words = prepare(base, WANTED, folder / "words")
    assert words is not None
    rows = encoded(words, write(ROWS, folder / "think" / "rows.jsonl"), Objective.SFT)
    settings = SETTINGS.model_copy(update={"max_steps": steps})
    return job(base, folder, Objective.SFT, method, tokenizer=words, rows=rows, hyperparameters=settings)


def answer(folder: Path) -> list[int]:
    tokenizer = load_tokenizer(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    asked = torch.tensor([tokenizer("sum of")["input_ids"]])
    return list(model.generate(asked, max_new_tokens=12, do_sample=False)[0, asked.shape[1] :].tolist())


@pytest.mark.parametrize("method", list(Method))
@pytest.mark.parametrize("kind", ["tied", "untied", "spare rows"])
def test_the_new_tokens_are_learned(model: Path, tmp_path: Path, kind: str, method: Method) -> None:
    base = base_of(kind, model, tmp_path / "base")
    run(wanted(base, tmp_path, method))
    result = tmp_path / "out"
    if METHODS[method].adapters:
        result = tmp_path / "merged"
        merge(base, tmp_path / "out", result)
        stored = load_file(tmp_path / "out" / "adapter_model.safetensors")
        assert not [name for name in stored if "base_layer" in name]
    tokenizer, own = load_tokenizer(result), load_tokenizer(base)
    opens, closes = tokenizer.convert_tokens_to_ids(list(REASONING))
    assert (opens, closes) == (len(own), len(own) + 1)
    rows = AutoConfig.from_pretrained(result).vocab_size
    assert rows == (len(own) + 7 if kind == "spare rows" else len(own) + 2)
    told = tokenizer("<think>the x</think>return x", add_special_tokens=False)["input_ids"]
    assert answer(result) == [*told, tokenizer.eos_token_id]
    assert told[0] == opens
    assert "<think>the x</think>" in tokenizer.decode(told, skip_special_tokens=True)


@pytest.mark.parametrize("kind", ["tied", "untied"])
def test_the_other_rows_of_the_embedding_stay(model: Path, tmp_path: Path, kind: str) -> None:
    base = base_of(kind, model, tmp_path / "base")
    run(wanted(base, tmp_path, Method.LORA, 4))
    merge(base, tmp_path / "out", tmp_path / "merged")
    before, after = load_model(base, torch.float32), load_model(tmp_path / "merged", torch.float32)
    count = before.get_input_embeddings().num_embeddings
    start = load_model(base, torch.float32)
    add_tokens(start, added(base, tmp_path / "words"))
    for name in ("get_input_embeddings", "get_output_embeddings"):
        was, now, begun = (getattr(each, name)().weight for each in (before, after, start))
        assert torch.equal(now[:count], was)
        assert (now[count:] - begun[count:]).abs().amax(1).min() > 1e-3
    pieces = load_tokenizer(base)("<think>", add_special_tokens=False)["input_ids"]
    assert len(pieces) > 1
    mean = before.get_input_embeddings().weight[pieces].mean(0)
    assert torch.equal(start.get_input_embeddings().weight[count], mean)


@pytest.mark.parametrize("method", list(Method))
def test_a_run_that_was_stopped_ends_with_the_same_bytes(model: Path, tmp_path: Path, method: Method) -> None:
    run(wanted(model, tmp_path / "straight", method, 6))
    first = wanted(model, tmp_path / "stopped", method, 6)
    with pytest.raises(StageError) as stopped:
        run(first, stop_at=3)
    assert stopped.value.reason is FailureReason.INTERRUPTED
    _, outcome = run(wanted(model, tmp_path / "stopped", method, 6))
    assert outcome.resumed_from == 3
    assert digest(tmp_path / "straight" / "out") == digest(tmp_path / "stopped" / "out")


@pytest.mark.parametrize("method", list(Method))
def test_a_preference_is_compared_with_a_model_that_has_them_too(
    model: Path, tmp_path: Path, method: Method
) -> None:
    words = prepare(model, WANTED, tmp_path / "words")
    assert words is not None
    rows = encoded(words, write(PAIRS, tmp_path / "think" / "rows.jsonl"), Objective.DPO)
    told: Record
    told, _ = run(job(model, tmp_path, Objective.DPO, method, tokenizer=words, rows=rows))
    assert told.losses()[0] == pytest.approx(0.6931, abs=1e-3)  # both say the same before the first step
    assert told.losses()[-1] < 0.6


def test_a_model_that_has_them_is_not_changed(model: Path, tmp_path: Path) -> None:
    once = prepare(model, WANTED, tmp_path / "once")
    assert once is not None
    again = prepare(once, WANTED, tmp_path / "again")
    assert again is not None
    assert added(once, again) == {}
    assert (again / "tokenizer.json").read_bytes() == (once / "tokenizer.json").read_bytes()
    first = json.loads((once / "tokenizer.json").read_text())["added_tokens"][-2:]
    assert [(one["content"], one["special"]) for one in first] == [("<think>", False), ("</think>", False)]


def test_a_tokenizer_without_the_file_they_are_written_into_is_refused(model: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(model, base)
    made = json.loads((base / "tokenizer.json").read_text())
    (base / "tokenizer.json").unlink()
    (base / "vocab.json").write_text(json.dumps(made["model"]["vocab"]))
    (base / "merges.txt").write_text("".join(" ".join(pair) + "\n" for pair in made["model"]["merges"]))
    config = json.loads((base / "tokenizer_config.json").read_text())
    (base / "tokenizer_config.json").write_text(json.dumps(config | {"tokenizer_class": "GPT2Tokenizer"}))
    with pytest.raises(StageError, match=r"addReasoningTokens: .* has no tokenizer\.json"):
        prepare(base, WANTED, tmp_path / "words")


def test_the_command_lines(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(ROWS, Path("rows.jsonl"))
    words = f"--model_name_or_path {model} --dataset rows.jsonl --max_steps 1 --eval_dataset_size 0".split()
    assert main([*words, "--output_dir", "out", "--add_reasoning_tokens"]) == 0
    assert main([*words, "--output_dir", "plain"]) == 0
    capsys.readouterr()
    to = ["--base_model_name_or_path", str(model), "--add_reasoning_tokens", "--merged_model_name_or_path"]
    assert merged([*to, "merged", "--lora_model_path", "out/latest"]) == 0
    assert load_tokenizer(Path("merged")).convert_tokens_to_ids("</think>") == len(load_tokenizer(model)) + 1
    with pytest.raises(SystemExit):
        merged([*to, "other", "--lora_model_path", "plain/latest"])
    assert "--add_reasoning_tokens: the adapter was trained without <think>" in capsys.readouterr().err
    assert not Path("other").exists()
