"""Adapters on a model held in fewer bits: what is quantized, what learns, and the merge into the whole model."""

from __future__ import annotations

import importlib.util
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from speechless.contract import FailureReason, Lora, Method, Objective, Qlora
from speechless.data.tokenizer import load_tokenizer
from speechless.errors import StageError
from speechless.finetune import bits, device, memory, sizes
from speechless.finetune.finetune import main
from speechless.finetune.merge import merge
from speechless.finetune.merge_peft_adapters import main as merge_by_flags
from speechless.finetune.models import load_model
from tests.library import merge_models
from tests.library.training import ROWS, SETTINGS, digest, job, run, write

pytest_plugins = ("tests.library.model_fixtures",)
pytestmark = pytest.mark.timeout(300)
KINDS = [Qlora(), Qlora(double_quant=False), Qlora(quant_type="fp4"), Qlora(bits=8)]


def held_bytes(model: Any) -> int:
    """What quantized layers take, with their scales."""
    size = 0
    for parameter in model.parameters():
        kind = type(parameter).__name__
        if kind == "Params4bit":
            state = parameter.quant_state
            scales = [state.absmax, *([state.state2.absmax] if state.nested else [])]
            size += sum(each.nbytes for each in (parameter.data, *scales))
        elif kind == "Int8Params":
            size += parameter.data.nbytes
    return size


@pytest.mark.parametrize("held", KINDS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_linear_layers_are_quantized_and_nothing_else_is(
    model: Path, held: Qlora, dtype: torch.dtype
) -> None:
    loaded = load_model(model, dtype, held=held)
    shape = sizes.shape_of(model)
    kept = {
        name: parameter.dtype
        for name, parameter in loaded.named_parameters()
        if type(parameter).__name__ not in ("Params4bit", "Int8Params")
    }
    assert set(kept.values()) == {dtype}
    assert all("embed" in name or "norm" in name for name in kept)
    assert type(loaded.get_output_embeddings()) is torch.nn.Linear
    assert sum(bits.elements(parameter) for parameter in loaded.parameters()) == shape.parameters
    training = memory.Training(
        shape, Objective.SFT, Method.QLORA, "fp32", SETTINGS, Lora(), 64, cuda=False, held=held
    )
    parts = {part.name: part.bytes for part in memory.components(training)}
    # The scales of scales are of 256 blocks, which small layers do not fill.
    assert held_bytes(loaded) == pytest.approx(parts["quantized weights"], rel=0.01)


@pytest.mark.parametrize("held", KINDS, ids=str)
def test_an_evaluation_changes_nothing_of_what_is_computed(model: Path, held: Qlora) -> None:
    """Of CPUs, those with bfloat16 units would compute otherwise from then on, and give no gradients."""
    loaded = load_model(model, torch.float32, held=held)
    ids = torch.tensor([[5, 6, 7, 8]])

    def gradient() -> torch.Tensor:
        loaded.train()
        loaded.zero_grad()
        loaded(input_ids=ids, labels=ids).loss.backward()
        found: torch.Tensor = loaded.get_input_embeddings().weight.grad.clone()
        return found

    before = gradient()
    assert before.abs().max() > 0
    loaded.eval()
    with torch.no_grad():
        evaluated = loaded(input_ids=ids).logits
    if held.bits == 4:  # LLM.int8() computes outliers apart where no gradient is wanted
        assert torch.equal(evaluated, loaded.train()(input_ids=ids).logits)
    assert torch.equal(gradient(), before)


@pytest.mark.parametrize("held", KINDS[1:], ids=str)
def test_it_learns_and_goes_on_with_each_kind_of_bits(model: Path, tmp_path: Path, held: Qlora) -> None:
    told, _ = run(job(model, tmp_path / "straight", Objective.SFT, Method.QLORA, qlora=held))
    losses = told.losses()
    assert losses[-1] < 0.7 * losses[0]
    with pytest.raises(StageError, match="stopped by a signal"):
        run(job(model, tmp_path / "stopped", Objective.SFT, Method.QLORA, qlora=held), stop_at=5)
    run(job(model, tmp_path / "stopped", Objective.SFT, Method.QLORA, qlora=held))
    assert digest(tmp_path / "straight" / "out") == digest(tmp_path / "stopped" / "out")


@pytest.mark.parametrize(
    "setting",
    [{"gradient_checkpointing": True}, {"packing": True}, {"attn_implementation": "eager"}],
    ids=str,
)
def test_it_learns_with_each_setting(model: Path, tmp_path: Path, setting: dict[str, Any]) -> None:
    settings = SETTINGS.model_copy(update=setting)
    told, _ = run(job(model, tmp_path, Objective.SFT, Method.QLORA, hyperparameters=settings))
    losses = told.losses()
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("objective", list(ROWS))
def test_adapters_are_trained_in_float32(model: Path, tmp_path: Path, objective: Objective) -> None:
    """TRL rounds those of a quantized model to bfloat16."""
    from safetensors.torch import load_file

    settings = SETTINGS.model_copy(update={"max_steps": 1})
    run(job(model, tmp_path, objective, Method.QLORA, hyperparameters=settings))
    saved = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.float32}
    assert any(not torch.equal(tensor, tensor.bfloat16().float()) for tensor in saved.values())


def loss(folder: Path) -> float:
    """Of a saved model on the rows, in float32."""
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        load_tokenizer(folder),
    )
    texts = [row["prompt"] + row["completion"] for row in ROWS[Objective.SFT]]
    ids = [torch.tensor([tokenizer(text)["input_ids"]]) for text in texts]
    with torch.no_grad():
        return sum(float(model(input_ids=each, labels=each).loss) for each in ids) / len(ids)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_it_is_merged_into_the_whole_model(model: Path, tmp_path: Path, kind: str) -> None:
    base = merge_models.cast(model, tmp_path / "base", torch.bfloat16) if kind == "llama" else (
        merge_models.gpt2(model, tmp_path / "base"))  # fmt: skip
    run(job(base, tmp_path, Objective.SFT, Method.QLORA))
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["fan_in_fan_out"] == (kind == "gpt2")
    found = {metric.name: metric.value for metric in merge(base, tmp_path / "out", tmp_path / "merged")}
    assert found["merge/max_logit_difference"] < 1e-3
    saved = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert "quantization_config" not in saved
    stored = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype="auto")
    assert stored.dtype == (torch.bfloat16 if kind == "llama" else torch.float32)
    # What was learned on quantized weights holds for those that they were made of.
    assert loss(tmp_path / "merged") < 0.7 * loss(base)


def test_by_the_flags_of_earlier_versions(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(ROWS[Objective.SFT], tmp_path / "rows.jsonl")
    words = f"""--model_name_or_path {model} --dataset rows.jsonl --output_dir outputs --eval_dataset_size 0
        --bits 4 --bf16 --quant_type nf4 --double_quant --optim adamw_torch --model_max_length 64 --lora_r 8
        --max_steps 2 --gradient_accumulation_steps 1""".split()
    assert main([*words, "--dry_run", "-o", "json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["method"] == "QLoRA"
    assert "quantized weights" in [part["name"] for part in made["memory"]["components"]]
    assert main(words) == 0
    capsys.readouterr()
    assert main([*words, "--double_quant", "false"]) == 2
    assert (
        "holds a completed run of other settings or other data (qlora.double_quant)"
        in capsys.readouterr().err
    )
    into = ["--base_model_name_or_path", str(model), "--lora_model_path", "outputs/latest"]
    assert merge_by_flags([*into, "--merged_model_name_or_path", "merged"]) == 0
    assert (tmp_path / "merged" / "model.safetensors").is_file()


def test_what_cannot_be_had_is_told_before_a_model_is_read(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cpu = device.Device("cpu", bf16=False)
    with caplog.at_level(logging.WARNING):
        device.check_bits(None, cpu)
        assert not caplog.records
        device.check_bits(Qlora(), cpu)
    assert "method QLoRA is for GPUs" in caplog.text
    wanted = job(model, tmp_path, Objective.SFT, Method.QLORA)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "bitsandbytes" else find(name, *more)
    )
    with pytest.raises(StageError, match="method QLoRA needs the package bitsandbytes") as caught:
        run(wanted)
    assert caught.value.reason is FailureReason.INVALID_SPEC
    assert "speechless-llm[qlora]" in (caught.value.hint or "")
    assert "LoRA" in (caught.value.hint or "")
    with pytest.raises(StageError, match=r"optim paged_adamw_8bit needs the package bitsandbytes"):
        device.check_optimizer("paged_adamw_8bit", device.Device("cuda", bf16=True))


def test_a_model_that_is_quantized_already_is_refused(model: Path, tmp_path: Path) -> None:
    load_model(model, torch.float32, held=Qlora()).save_pretrained(tmp_path / "four")
    with pytest.raises(StageError, match="its weights are quantized already"):
        load_model(tmp_path / "four", torch.float32, held=Qlora())
