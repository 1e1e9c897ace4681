"""Reward models: what they learn, that a text is scored as it was trained, their merge, and who refuses them."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    CodeGenConfig,
    CodeGenForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
)

from speechless.contract import METHODS, DatasetFormat, FailureReason, Format, Method, Objective
from speechless.contract.modelinfo import Head
from speechless.data import Placed
from speechless.data.formats import BY_NAME
from speechless.data.tokenizer import load_tokenizer
from speechless.errors import StageError
from speechless.finetune.finetune import main
from speechless.finetune.heads import HEADS
from speechless.finetune.merge import merge
from speechless.finetune.models import load_model
from speechless.finetune.recipes import reward
from speechless.models import read_info
from tests.library.random_model import WORDS
from tests.library.test_model_info import described, stage
from tests.library.training import ROWS, SETTINGS, encoded, job, run, write
from tests.support.model_files import Tensors, write_safetensors

pytest_plugins = ("tests.library.model_fixtures",)
pytestmark = pytest.mark.timeout(300)
SCORE = HEADS[Head.SCORE]


GOOD, BAD = ("sum", "max", "sorted"), ("if", "not", "the")
NEITHER = [word for word in WORDS if word not in (*GOOD, *BAD)]


def pairs(count: int) -> list[dict[str, Any]]:
    """The better answer ends with a word of GOOD, the worse one with one of BAD; no two rows are alike."""
    chance = random.Random(3)
    rows: dict[str, dict[str, Any]] = {}
    while len(rows) < count:
        asked, one, other = chance.choices(NEITHER, k=3)
        told = {
            "prompt": asked,
            "chosen": f" {one} {chance.choice(GOOD)}",
            "rejected": f" {other} {chance.choice(BAD)}",
        }
        rows[json.dumps(told)] = told
    return list(rows.values())


def trained(model: Path, folder: Path, method: Method, **settings: Any) -> dict[str, float]:
    """The metrics of a run on 128 pairs, with 32 more held out."""
    rows = encoded(model, write(pairs(160), folder / "pairs" / "rows.jsonl"), Objective.REWARD, heldout=32)
    given = SETTINGS.model_copy(update={"learning_rate": 2e-3, "per_device_train_batch_size": 8, **settings})
    _, outcome = run(
        job(
            model,
            folder,
            Objective.REWARD,
            method,
            rows=rows,
            hyperparameters=given,
            eval_steps=given.max_steps,
        )
    )
    return {metric.name: float(metric.value) for metric in outcome.metrics}


def texts(folder: Path) -> list[list[int]]:
    """The better and the worse text of a row that is trained on, as ids."""
    tokenizer, row = load_tokenizer(folder), ROWS[Objective.REWARD][0]
    return [
        [*tokenizer(row["prompt"] + row[side])["input_ids"], tokenizer.eos_token_id]
        for side in ("chosen", "rejected")
    ]


def scores(folder: Path, ids: list[list[int]], adapter: Path | None = None) -> torch.Tensor:
    """As Transformers and PEFT give them."""
    loaded = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, num_labels=1)
    if adapter is not None:
        from peft import PeftModel

        loaded = PeftModel.from_pretrained(loaded, adapter)
    with torch.no_grad():
        return torch.stack([loaded.eval()(input_ids=torch.tensor([row])).logits[0, 0] for row in ids])


@pytest.mark.parametrize("method", list(Method))
def test_it_tells_the_better_of_two_answers_that_it_has_not_seen(
    model: Path, tmp_path: Path, method: Method
) -> None:
    before = trained(model, tmp_path / "before", method, learning_rate=1e-12, max_steps=1)
    after = trained(model, tmp_path / "after", method, max_steps=60)
    assert before["eval/reward_accuracy"] < 0.75
    assert after["eval/reward_accuracy"] > 0.95
    assert after["train/reward_accuracy"] == 1
    assert after["eval/reward_margin"] > max(1, before["eval/reward_margin"])
    assert after["eval/loss"] < 0.3 < before["eval/loss"]


def test_rewards_are_drawn_towards_zero_where_that_is_asked_for(model: Path, tmp_path: Path) -> None:
    made = {}
    for coefficient in (0.0, 1.0):
        folder = tmp_path / str(coefficient)
        options = {"center_rewards_coefficient": coefficient}
        _, outcome = run(job(model, folder, Objective.REWARD, Method.LORA, options=options))
        made[coefficient] = {metric.name: float(metric.value) for metric in outcome.metrics}
    assert abs(made[1.0]["train/reward_mean"]) < 0.5 * abs(made[0.0]["train/reward_mean"])
    assert 0 < made[1.0]["train/reward_margin"] < made[0.0]["train/reward_margin"]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "sum of x", "chosen": " return x", "rejected": " not x"},
        {"system_prompt": "of the list", "prompt": "sum of x", "chosen": "return x", "rejected": "not x"},
        {
            "chosen": [{"role": "user", "content": "sum"}, {"role": "assistant", "content": "return x"}],
            "rejected": [{"role": "user", "content": "sum"}, {"role": "assistant", "content": "not x"}],
        },
    ],
)
def test_a_text_is_trained_as_it_is_scored(model: Path, row: dict[str, Any]) -> None:
    """Also what a chat template writes behind the last turn: the score is read there."""
    tokenizer = load_tokenizer(model)
    tokenizer.chat_template = tokenizer.chat_template.replace("{{ eos_token }}", "{{ eos_token }}\n")
    example = BY_NAME[DatasetFormat.PREFERENCE].read(row)
    columns = reward.encoder(tokenizer)(Placed("rows.jsonl:1", example))
    for name, side in zip(reward.COLUMNS, ("chosen", "rejected"), strict=True):
        if isinstance(example.prompt, str):
            assert columns[name] == [
                *tokenizer(row["prompt"] + row[side])["input_ids"],
                tokenizer.eos_token_id,
            ]
            continue
        talk = [message.to_template() for message in (*example.prompt, *getattr(example, side))]
        assert columns[name] == tokenizer.apply_chat_template(talk, return_dict=True)["input_ids"]
        assert tokenizer.decode(columns[name]).endswith("</s>\n")


@pytest.mark.parametrize(
    ("chosen", "rejected", "kept"),
    [
        ([1, 2, 3, 4, 5], [1, 2, 6], ([1, 2, 3, 4], [1, 2, 6])),
        ([1, 2, 3, 4, 5], [1, 2, 3, 4, 6], None),
        ([], [1, 2], None),
        ([1, 2], [], None),
    ],
)
def test_a_pair_within_the_longest_length_differs_or_is_left_out(
    chosen: list[int], rejected: list[int], kept: tuple[list[int], ...] | None
) -> None:
    made = reward.cut(dict(zip(reward.COLUMNS, (chosen, rejected), strict=True)), 4)
    assert made == (dict(zip(reward.COLUMNS, kept, strict=True)) if kept else None)


def of_type(base: Path, folder: Path, dtype: torch.dtype, *, tied: bool = True) -> Path:
    """The same model in another type, or with an output layer of its own."""
    shutil.copytree(base, folder)
    loaded = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
    if not tied:
        loaded.config.tie_word_embeddings = False
        loaded.lm_head.weight = torch.nn.Parameter(loaded.lm_head.weight.detach().clone())
    loaded.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("dtype", "tied"), [(torch.float32, True), (torch.bfloat16, False)])
def test_a_merged_adapter_gives_the_scores_of_the_adapter(
    model: Path, tmp_path: Path, dtype: torch.dtype, tied: bool, caplog: pytest.LogCaptureFixture
) -> None:
    base = of_type(model, tmp_path / "base", dtype, tied=tied)
    run(job(base, tmp_path, Objective.REWARD, Method.LORA))
    metrics = {metric.name: metric.value for metric in merge(base, tmp_path / "out", tmp_path / "merged")}
    assert metrics["merge/order_agreement"] > 0.95
    wanted = scores(base, texts(base), tmp_path / "out")
    found = scores(tmp_path / "merged", texts(base))
    assert wanted[0] - wanted[1] > 1
    assert torch.allclose(wanted, found, atol=2e-4 if dtype == torch.float32 else 0.5)
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert (config["architectures"], config["id2label"]) == (
        ["LlamaForSequenceClassification"],
        {"0": "LABEL_0"},
    )
    assert config["dtype"] == str(dtype).removeprefix("torch.")
    assert not (tmp_path / "merged" / "generation_config.json").exists()
    info = read_info(tmp_path / "merged", Format.HUGGING_FACE)
    adapter = read_info(tmp_path / "out", Format.ADAPTER)
    assert info
    assert adapter
    assert (info.labels, info.head, adapter.labels) == (1, Head.SCORE, 1)
    assert "have no place" not in caplog.text
    assert "not initialized" not in caplog.text


def test_another_architecture_has_another_body_and_the_same_head(model: Path, tmp_path: Path) -> None:
    """GPT-2: its layers are Conv1D, its body is called `transformer`."""
    base = tmp_path / "base"
    shutil.copytree(model, base, ignore=shutil.ignore_patterns("config.json", "generation_config.json"))
    size = len(load_tokenizer(model))
    torch.manual_seed(1)
    made = GPT2LMHeadModel(GPT2Config(vocab_size=size, n_positions=64, n_embd=32, n_layer=2, n_head=4))
    made.save_pretrained(base)
    run(job(base, tmp_path, Objective.REWARD, Method.LORA))
    saved = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert saved["modules_to_save"] == ["score"]
    assert "score" not in saved["target_modules"]
    merge(base, tmp_path / "out", tmp_path / "merged")
    wanted, found = scores(base, texts(base), tmp_path / "out"), scores(tmp_path / "merged", texts(base))
    assert wanted[0] - wanted[1] > 1
    assert torch.allclose(wanted, found, atol=1e-4)


def test_a_merge_whose_head_is_lost_is_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from speechless.finetune import models

    run(job(model, tmp_path, Objective.REWARD, Method.LORA))
    save = models.save_model

    def other_head(merged: Any, *more: Any) -> None:
        merged.score.weight.data *= 1.001
        save(merged, *more)

    monkeypatch.setattr(models, "save_model", other_head)
    with pytest.raises(StageError, match=r"weights of the saved model are not .* such as score\.weight"):
        merge(model, tmp_path / "out", tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_an_adapter_of_a_classifier_is_refused_by_its_small_files(tmp_path: Path) -> None:
    told = {"peft_type": "LORA", "task_type": "SEQ_CLS", "modules_to_save": ["score"], "r": 2}
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "adapter_config.json").write_text(json.dumps(told))
    head: Tensors = {"base_model.model.score.weight": ("F32", (3, 8))}
    write_safetensors(tmp_path / "a" / "adapter_model.safetensors", head)
    with pytest.raises(
        StageError, match=r"^a: an adapter of a classifier of 3 classes, neither of"
    ) as caught:
        merge(tmp_path / "no base is read", tmp_path / "a", tmp_path / "out")
    assert caught.value.reason is FailureReason.MODEL_INVALID


@pytest.mark.parametrize("method", list(Method))
def test_a_reward_model_is_trained_on(model: Path, tmp_path: Path, method: Method) -> None:
    """It begins with the head that it has: its first loss is what the first run ended with."""
    run(job(model, tmp_path / "first", Objective.REWARD, Method.FULL))
    first = tmp_path / "first" / "out"
    told, _ = run(job(first, tmp_path / "more", Objective.REWARD, method))
    assert told.losses()[0] < 1e-3
    out = tmp_path / "more" / "out"
    if METHODS[method].adapters:
        merge(first, out, tmp_path / "merged")
        out = tmp_path / "merged"
    config = json.loads((out / "config.json").read_text())
    assert config["id2label"] == {"0": "LABEL_0"}
    assert not torch.equal(scores(first, texts(model)), scores(out, texts(model)))


def test_what_fills_up_a_row_is_the_end_of_text_where_the_tokenizer_names_nothing(
    model: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(model, base)
    for name, key in (("tokenizer_config.json", "pad_token"), ("config.json", "pad_token_id")):
        told = json.loads((base / name).read_text())
        del told[key]
        (base / name).write_text(json.dumps(told))
    assert load_tokenizer(base).pad_token_id is None
    run(job(base, tmp_path, Objective.REWARD, Method.LORA))
    merge(base, tmp_path / "out", tmp_path / "merged")
    end = load_tokenizer(base).eos_token_id
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["pad_token_id"] == end
    alone = texts(base)
    filled = [[*row, end, end, end] for row in alone]
    found = scores(tmp_path / "merged", alone)
    assert found[0] - found[1] > 1
    assert torch.allclose(found, scores(tmp_path / "merged", filled), atol=1e-4)


def test_a_tokenizer_without_any_end_is_refused(model: Path, tmp_path: Path) -> None:
    class Endless:
        pad_token_id = eos_token_id = None

    loaded = load_model(model, kind=SCORE)
    with pytest.raises(StageError, match="m: the tokenizer has neither a padding token nor an end of text"):
        SCORE.settle(loaded, Endless(), tmp_path / "m")


def test_what_answers_with_something_else_is_refused_before_its_weights_are_read(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for labels in (1, 3):
        torch.manual_seed(1)
        made = AutoModelForSequenceClassification.from_pretrained(model, num_labels=labels)
        made.save_pretrained(tmp_path / f"of-{labels}")
    config = CodeGenConfig(vocab_size=64, n_positions=32, n_embd=16, n_layer=1, n_head=4, rotary_dim=4)
    CodeGenForCausalLM(config).save_pretrained(tmp_path / "codegen")
    for auto in (AutoModelForCausalLM, AutoModelForSequenceClassification):
        monkeypatch.setattr(auto, "from_pretrained", None)
    refused = (
        ("of-1", HEADS[Head.WORDS], "of-1: a reward model, and language models are taken here"),
        ("of-3", HEADS[Head.WORDS], "of-3: a classifier of 3 classes, and language models are taken here"),
        ("of-3", SCORE, "of-3: a classifier of 3 classes, and reward models are taken here"),
        ("codegen", SCORE, "codegen: Transformers has no reward models of the architecture codegen"),
    )
    for name, kind, said in refused:
        with pytest.raises(StageError, match=said) as caught:
            load_model(tmp_path / name, kind=kind)
        assert caught.value.reason is FailureReason.MODEL_INVALID


def test_a_reward_model_along_a_chain_of_stages(model: Path, tmp_path: Path) -> None:
    """It is made by a stage, says what it is, and the stages that need a model that writes refuse it."""
    rows = write(ROWS[Objective.REWARD], tmp_path / "rows.jsonl")
    training = {
        "dataset": {"uri": rows.as_uri()},
        "hyperparameters": {"maxSteps": 2, "maxLength": 64},
    }
    made = {**training, "objective": "Reward", "reward": {"centerRewardsCoefficient": 0.01}}
    result = stage(
        "finetune", tmp_path, model={"uri": model.as_uri()}, output=(tmp_path / "judge").as_uri(), **made
    )
    info = described(result)
    assert (info.architecture, info.labels) == ("LlamaForSequenceClassification", 1)
    assert {"train/reward_accuracy", "merge/order_agreement"} <= {metric.name for metric in result.metrics}
    card = (tmp_path / "judge" / "README.md").read_text()
    assert "pipeline_tag: text-classification" in card
    assert "| reward.centerRewardsCoefficient | `0.01` |" in card

    judge = {"uri": (tmp_path / "judge").as_uri()}
    suite = {"name": "x", "type": "Perplexity", "data": {"uri": rows.as_uri()}}
    refused: tuple[tuple[str, dict[str, Any], str], ...] = (
        ("finetune", {**training, "objective": "Pretrain"}, "training takes"),
        ("quantize", {"type": "Q8_0"}, "quantizing takes"),
        ("evaluate", {"suites": [suite]}, "evaluating takes"),
    )
    for name, more, work in refused:
        failed = stage(name, tmp_path, model=judge, output=(tmp_path / "no").as_uri(), **more).failure
        assert failed
        assert failed.reason is FailureReason.MODEL_INVALID
        kind = "reward model, LlamaForSequenceClassification"
        assert f"judge: it is no model that writes ({kind}), {work} language models" in failed.message
        assert failed.hint == f"take the language model that it was made from, {model.as_uri()}"


@pytest.mark.parametrize("method", list(Method))
def test_the_dry_run_knows_the_head(
    model: Path, tmp_path: Path, method: Method, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = write(ROWS[Objective.REWARD], tmp_path / "rows.jsonl")
    given = (
        f"--model_name_or_path {model} --dataset {rows} --objective reward --output_dir {tmp_path / 'out'}"
    )
    given += " --per_device_train_batch_size 4"
    given += " --lora_r 8" if METHODS[method].adapters else " --full_finetune"
    given += " --bits 4" if METHODS[method].quantized else ""
    assert main([*given.split(), "--dry_run", "-o", "json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    _, outcome = run(job(model, tmp_path, Objective.REWARD, method))
    found = {metric.name: metric.value for metric in outcome.metrics}
    assert plan["trained_parameters"] == found["train/parameters"]
    whole = load_model(model, kind=SCORE)
    assert plan["parameters"] == sum(parameter.numel() for parameter in whole.parameters())
    logits = next(part for part in plan["memory"]["components"] if part["name"] == "logits")
    assert logits["bytes"] == 4 * 2 * plan["longest"] * 14
