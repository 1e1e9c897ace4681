"""Experts: they learn, go on as if undisturbed, and become a Mixtral that says the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from speechless.contract import Experts, FailureReason, Method, Objective, Qlora
from speechless.errors import StageError
from speechless.finetune import adapter_folder, experts, harness, merge, merge_moe, models, moe, sizes
from speechless.finetune.__main__ import main as task
from speechless.models.safetensors import read_header
from tests.library.training import ROWS, Record, digest, job, run, write
from tests.unit.layout.repository import ROOT

pytest_plugins = ("tests.library.model_fixtures",)
pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore::UserWarning:peft")]
FOUR = Experts(num_experts=4, top_k=2, adapter_dim=8)
METHODS = (Method.LORA, Method.QLORA)
OBJECTIVES = [one for one in Objective if one is not Objective.REWARD]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_they_learn_and_a_run_that_was_stopped_ends_with_the_same_bytes(
    model: Path, tmp_path: Path, objective: Objective, method: Method
) -> None:
    told, outcome = run(job(model, tmp_path / "straight", objective, method, experts=FOUR))
    losses = told.losses()
    assert losses[-1] < 0.8 * losses[0]
    numbers = {metric.name: metric.value for metric in outcome.metrics}
    assert numbers["train/parameters"] == sizes.shape_of(model).experts(4, 8)
    with pytest.raises(StageError):
        run(job(model, tmp_path / "stopped", objective, method, experts=FOUR), stop_at=5)
    _, outcome = run(job(model, tmp_path / "stopped", objective, method, experts=FOUR))
    assert outcome.resumed_from == 5
    assert digest(tmp_path / "straight" / "out") == digest(tmp_path / "stopped" / "out")


def base_of(kind: str, model: Path, folder: Path, **more: Any) -> Path:
    """A model of another kind with the tokenizer of the tiny one."""
    config, made = {"llama": (LlamaConfig, LlamaForCausalLM), "mistral": (MistralConfig, MistralForCausalLM)}[
        kind
    ]
    torch.manual_seed(3)
    given = json.loads((model / "config.json").read_text())
    same = ("vocab_size", "eos_token_id", "pad_token_id", "initializer_range", "max_position_embeddings")
    whole = made(
        config(
            **{name: given[name] for name in same},
            hidden_size=96,
            intermediate_size=160,
            num_hidden_layers=3,
            num_attention_heads=6,
            num_key_value_heads=2,
            bos_token_id=None,
            **more,
        )
    )
    whole.to(torch.bfloat16 if more.get("dtype") == "bfloat16" else torch.float32).save_pretrained(folder)
    for file in (*model.glob("*token*"), *model.glob("chat_template*")):
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.mark.parametrize(
    ("kind", "method", "more"),
    [
        ("llama", Method.LORA, {"tie_word_embeddings": True}),
        ("llama", Method.QLORA, {"dtype": "bfloat16"}),
        ("llama", Method.LORA, {"head_dim": 32, "rope_parameters": {"rope_type": "linear", "factor": 2.0}}),
        ("mistral", Method.LORA, {"sliding_window": 16}),
        ("mistral", Method.LORA, {"sliding_window": None, "dtype": "bfloat16"}),
    ],
)
def test_they_become_a_mixtral_that_says_the_same(
    model: Path, tmp_path: Path, kind: str, method: Method, more: dict[str, Any]
) -> None:
    base = base_of(kind, model, tmp_path / "base", **more)
    run(job(base, tmp_path, Objective.SFT, method, experts=FOUR))
    found = {one.name: one.value for one in merge.merge(base, tmp_path / "out", tmp_path / "merged")}
    assert found["merge/max_logit_difference"] < 1e-3
    assert found["merge/argmax_agreement"] > 0.9
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert (config["model_type"], config["num_local_experts"], config["num_experts_per_tok"]) == (
        "mixtral",
        4,
        2,
    )
    assert config["dtype"] == more.get("dtype", "float32")
    # Read by whoever knows Mixtral, and compared with the adapter by hand: also behind the probe's length.
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32).eval()
    plain = models.load_model(base, torch.float32)
    adapted = adapter_folder.attach(plain, adapter_folder.read(tmp_path / "out"))
    ids = torch.randint(5, 300, (2, 40), generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        want, got = adapted(input_ids=ids).logits, merged(input_ids=ids).logits
    if more.get("dtype") != "bfloat16":
        assert (want - got).abs().max() < 1e-3 * want.abs().max()
    assert (want.argmax(-1) == got.argmax(-1)).float().mean() > 0.9


def test_every_token_is_sent_to_as_many_as_is_said_and_what_is_learned_is_used(
    model: Path, tmp_path: Path
) -> None:
    run(job(model, tmp_path, Objective.SFT, Method.LORA, experts=FOUR))
    plain = models.load_model(model, torch.float32)
    adapted = adapter_folder.attach(plain, adapter_folder.read(tmp_path / "out"))
    layers = [layer for layer in adapted.modules() if isinstance(layer, experts.RoutedMlp)]
    assert len(layers) == 2
    x = torch.randn(3, 5, layers[0].out_features)
    shares = layers[0].shares(x)
    assert ((shares > 0).sum(-1) == 2).all()
    assert torch.allclose(shares.sum(-1), torch.ones(3, 5))
    ids = torch.tensor([[7, 8, 9, 10]])
    with torch.no_grad():
        told = adapted(input_ids=ids).logits
        with adapted.disable_adapter():
            without = adapted(input_ids=ids).logits
        assert torch.equal(without, models.load_model(model, torch.float32)(input_ids=ids).logits)
    assert not torch.allclose(told, without)


def test_a_model_that_cannot_become_a_mixtral_is_refused_before_it_is_read(
    model: Path, tmp_path: Path
) -> None:
    wanted = job(model, tmp_path, Objective.SFT, Method.LORA, experts=FOUR)
    other = tmp_path / "other"
    other.mkdir()
    config = json.loads((model / "config.json").read_text())
    for change, told in (
        ({"model_type": "gpt2"}, "of the types llama and mistral, and this is gpt2"),
        ({"attention_bias": True}, "it has biases .attention_bias."),
        ({"mlp_bias": True}, "it has biases .mlp_bias."),
    ):
        (other / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(StageError, match=f"experts: other: .*{told}") as caught:
            harness.train(
                wanted.model_copy(update={"model": other, "tokenizer": model}), Record(wanted.checkpoints)
            )
        assert caught.value.reason is FailureReason.INVALID_SPEC


def test_what_is_said_of_them_beside_the_adapter_has_to_be_there(model: Path, tmp_path: Path) -> None:
    run(job(model, tmp_path, Objective.SFT, Method.LORA, experts=FOUR, qlora=Qlora()))
    file = tmp_path / "out" / experts.FILE
    assert json.loads(file.read_text()) == {"num_experts": 4, "top_k": 2, "adapter_dim": 8}
    file.write_text('{"num_experts": 1}')
    with pytest.raises(StageError, match=r"out/experts.json: it cannot be read"):
        merge.merge(model, tmp_path / "out", tmp_path / "merged")
    file.unlink()
    with pytest.raises(StageError) as caught:
        merge.merge(model, tmp_path / "out", tmp_path / "merged")
    assert caught.value.reason is FailureReason.MODEL_INVALID
    assert not (tmp_path / "merged").exists()


def test_more_experts_than_the_memory_has_room_for(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from speechless import cpus

    run(job(model, tmp_path, Objective.SFT, Method.LORA, experts=FOUR))
    monkeypatch.setattr(cpus, "usable_memory", lambda: 1000)
    # The base alone would be refused.
    monkeypatch.setattr(models, "_check_memory", lambda *_: None)
    with pytest.raises(StageError, match=r"4 experts have .* GB of weights") as caught:
        merge.merge(model, tmp_path / "out", tmp_path / "merged")
    assert caught.value.reason is FailureReason.OUT_OF_MEMORY
    assert not (tmp_path / "merged").exists()


def test_a_plan_says_what_is_trained_and_what_it_becomes(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(ROWS[Objective.SFT], tmp_path / "rows.jsonl")
    words = [
        "--model_name_or_path",
        str(model),
        "--dataset",
        "rows.jsonl",
        "--topk",
        "1",
        "--adapter_dim",
        "8",
    ]
    assert moe.main([*words, "--dry_run", "-o", "json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    shape = sizes.shape_of(model)
    assert (plan["method"], plan["trained_parameters"]) == ("QLoRA", shape.experts(8, 8))
    run(job(model, tmp_path / "run", Objective.SFT, Method.LORA, experts=Experts(adapter_dim=8, top_k=1)))
    merge.merge(model, tmp_path / "run" / "out", tmp_path / "merged")
    size = models.load_model(tmp_path / "merged", torch.float32).num_parameters()
    assert size == shape.mixtral(8)
    assert any(f"a Mixtral of {size} parameters" in note for note in plan["notes"])


def test_a_task_directory_trains_and_merges_them(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The documented commands, then the merge under the flags of earlier versions."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    write(ROWS[Objective.SFT], tmp_path / "rows.jsonl")
    given = {
        "BASE_MODEL_PATH": str(model), "DATASET": str(tmp_path / "rows.jsonl"), "NUM_EXPERTS": "4", "TOPK": "1",
        "ADAPTER_DIM": "4", "NUM_TRAIN_EPOCHS": "4", "EVAL_DATASET_SIZE": "0", "WARMUP_STEPS": "0",
    }  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert task(["init", "--task_name", "fix"]) == 0
    assert task(["moe", "--task_name", "fix"]) == 0
    adapter = tmp_path / "fix" / "outputs" / "latest" / "adapter_model"
    assert experts.read(adapter) == Experts(num_experts=4, top_k=1, adapter_dim=4)
    assert "QLoRA" in (tmp_path / "fix" / "outputs" / "run.json").read_text()
    assert task(["merge", "--task_name", "fix"]) == 0
    config = json.loads((tmp_path / "fix" / "merged" / "config.json").read_text())
    assert (config["model_type"], config["num_local_experts"]) == ("mixtral", 4)
    words = ["--base_model", str(model), "--trained_weights_dir", str(adapter), "--output_dir", "again"]
    assert merge_moe.main(words) == 0
    merged = [read_header(folder / "model.safetensors") for folder in (Path("fix/merged"), Path("again"))]
    assert merged[0] == merged[1]
