"""What memory a training takes, by numbers reckoned by hand, and what to change."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from speechless.contract import METHODS, Hyperparameters, Lora, Method, Objective, Qlora
from speechless.contract.modelinfo import Head
from speechless.errors import StageError
from speechless.finetune import context, memory, sizes
from speechless.finetune.heads import HEADS
from speechless.finetune.memory import Training, components, estimate, total
from speechless.finetune.sizes import Shape, shape_of
from tests.support.model_files import write_safetensors

SHAPE = Shape(
    parameters=1000, linear=(("q_proj", 10, 20), ("up_proj", 10, 40)), layers=2, hidden=10, intermediate=40, heads=2,
    kv_width=5, vocabulary=100,
)  # fmt: skip
SETTINGS = Hyperparameters(per_device_train_batch_size=4, gradient_accumulation_steps=2)
SFT = Training(SHAPE, Objective.SFT, Method.LORA, "bf16", SETTINGS, Lora(r=8), length=50, cuda=True)


def parts(training: Training) -> dict[str, int]:
    return {part.name: part.bytes for part in components(training)}


def test_adapters_on_a_gpu() -> None:
    """8 x (10 + 20) + 8 x (10 + 40) = 640 parameters; 4 x 50 = 200 tokens; checkpointing is on."""
    layer = 25 * 10 + 4 * 5 + 8 * 40
    assert parts(SFT) == {
        "weights": 2000,
        "adapters": 2560,
        "gradients": 2560,
        "optimizer": 5120,
        "activations": 200 * (2 * 10 * 2 + layer),
        "logits": 200 * 100 * 2,
        "libraries": 600_000_000,
    }
    assert SFT.trained == 640
    assert replace(SFT, lora=Lora(r=8, target_modules=("q_proj",))).trained == 240


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"method": Method.FULL}, {"weights": 4000, "weights in bfloat16": 2000, "gradients": 4000, "optimizer": 8000}),
        ({"method": Method.FULL, "precision": "pure"}, {"weights": 2000, "gradients": 2000, "optimizer": 4000}),
        ({"method": Method.FULL, "precision": "fp32"}, {"weights": 4000, "gradients": 4000, "optimizer": 8000}),
        ({"method": Method.FULL, "objective": Objective.DPO},
         {"reference model": 4000, "logits": 2 * 200 * 100 * 2 + 100 * 10 * 4}),
        ({"objective": Objective.DPO}, {"weights": 2000, "logits": 2 * 200 * 100 * 2}),
        ({"precision": "fp32"}, {"logits": 200 * 100 * 4}),
        ({"length": 50_000, "shape": replace(SHAPE, vocabulary=100_000)}, {"logits": 4096 * 32768 * 2}),
        ({"length": 50_000, "objective": Objective.ORPO, "shape": replace(SHAPE, vocabulary=100_000)},
         {"logits": 2 * 4 * 50_000 * 100_000 * 14}),
        ({"objective": Objective.ORPO}, {"logits": 2 * 200 * 100 * 14}),
        ({"objective": Objective.REWARD, "shape": SHAPE.answering(HEADS[Head.SCORE])},
         {"weights": (1000 + 10) * 2, "adapters": 2560 + 10 * 4, "logits": 2 * 200 * 14}),
        ({"lora": Lora(r=8, dropout=0.1)},
         {"activations": 200 * (40 + (25 + 24) * 10 + 4 * 5 + (8 + 4) * 40)}),
        ({"cuda": False, "precision": "fp32"},
         {"activations": 200 * 2 * (25 * 10 + 8 * 5 + 16 * 40), "allocator": 200 * 2 * (25 * 10 + 8 * 5 + 16 * 40),
          "logits": 200 * 100 * 33,
          "libraries": 900_000_000}),
    ],
)  # fmt: skip
def test_parts(change: dict[str, Any], expected: dict[str, int]) -> None:
    found = parts(replace(SFT, **change))
    assert {name: found[name] for name in expected} == expected
    assert ("adapters" in found) == (change.get("method") is not Method.FULL)


@pytest.mark.parametrize(
    ("qlora", "size"),
    [
        (Qlora(), 600 * (4 + 0.127) / 8),
        (Qlora(double_quant=False), 600 * 4.5 / 8),
        (Qlora(bits=8), 600),
    ],
)
def test_weights_in_fewer_bits(qlora: Qlora, size: float) -> None:
    """10 x 20 + 10 x 40 = 600 of the 1000 parameters are in linear layers."""
    found = parts(replace(SFT, method=Method.QLORA, held=qlora))
    assert found["quantized weights"] == pytest.approx(size, abs=1)
    assert (found["weights"], found["a layer while it is computed"]) == (400 * 2, 400 * 2)
    same = ("adapters", "gradients", "optimizer", "activations")
    assert [found[name] for name in same] == [parts(SFT)[name] for name in same]


@pytest.mark.parametrize(
    ("settings", "name", "size"),
    [
        ({"optim": "paged_adamw_8bit"}, "optimizer", 1280),
        ({"optim": "sgd"}, "optimizer", 0),
        ({"gradient_checkpointing": False}, "activations", 200 * 2 * 590),
        ({"attn_implementation": "eager"}, "activations", 200 * (40 + 590 + 4 * 2 * 50)),
    ],
)
def test_settings(settings: dict[str, Any], name: str, size: int) -> None:
    given = replace(SFT, hyperparameters=SETTINGS.model_copy(update=settings))
    assert parts(given)[name] == size


def llama(hidden: int, inner: int, layers: int, kv_width: int, parameters: int) -> Shape:
    linear = {
        "q_proj": (hidden, hidden), "k_proj": (hidden, kv_width), "v_proj": (hidden, kv_width),
        "o_proj": (hidden, hidden),
        "gate_proj": (hidden, inner), "up_proj": (hidden, inner), "down_proj": (inner, hidden),
    }  # fmt: skip
    every = tuple((name, *sizes) for _ in range(layers) for name, sizes in linear.items())
    return Shape(
        parameters=parameters, linear=every, layers=layers, hidden=hidden, intermediate=inner, heads=32,
        kv_width=kv_width, vocabulary=32000,
    )  # fmt: skip


ONE, SEVEN = llama(2048, 5632, 22, 256, 1_100_048_384), llama(4096, 14336, 32, 1024, 7_241_732_096)


@pytest.mark.parametrize(
    ("shape", "method", "precision", "settings", "peak"),
    [
        (ONE, Method.LORA, "bf16", {}, 3.876),
        (ONE, Method.LORA, "bf16", {"gradient_checkpointing": False}, 12.0),
        (ONE, Method.FULL, "bf16", {"optim": "adamw_torch"}, 22.07),
        (ONE, Method.FULL, "pure", {"optim": "adamw_torch"}, 11.08),
        (ONE, Method.FULL, "pure", {"gradient_checkpointing": False}, 15.31),
        (SEVEN, Method.LORA, "bf16", {}, 19.08),
        (SEVEN, Method.QLORA, "bf16", {}, 8.335),
    ],
)
def test_it_is_what_was_measured_on_a_gpu(
    shape: Shape, method: Method, precision: str, settings: dict[str, Any], peak: float
) -> None:
    """Gigabytes of PyTorch's peak on an H100 and an H200, by tests/gpu/test_memory.py: 4 rows of 1024 tokens."""
    given = Hyperparameters(per_device_train_batch_size=4, gradient_accumulation_steps=1, **settings)
    held = Qlora() if method is Method.QLORA else None
    training = Training(
        shape, Objective.SFT, method, precision, given, Lora(r=64), 1024, cuda=True, held=held
    )
    assert (total(training) - memory.LIBRARIES["cuda"]) / 1e9 == pytest.approx(peak, rel=0.05)


def test_the_most_is_taken_at_the_loss_or_in_the_step() -> None:
    """Of method Full, with one batch a step: few tokens, then many."""
    one = SETTINGS.model_copy(update={"gradient_accumulation_steps": 1, "optim": "adamw_torch"})
    few = replace(SFT, method=Method.FULL, hyperparameters=one, shape=replace(SHAPE, parameters=100_000))
    found = parts(few)
    assert (found["gradients"], found["the optimizer's step"]) == (400_000, 400_000)
    assert "activations" not in found
    fused = one.model_copy(update={"optim": "adamw_torch_fused"})
    found = parts(replace(few, hyperparameters=fused, shape=replace(SHAPE, parameters=1_000_000)))
    assert found["gradients"] == 4_000_000
    assert "the optimizer's step" not in found
    found = parts(replace(few, length=5000))
    assert {"activations", "logits", "weights in bfloat16"} <= set(found)
    assert "gradients" not in found
    assert "gradients" in parts(replace(few, length=5000, hyperparameters=SETTINGS))


def test_every_optimizer_and_every_method_has_its_bytes() -> None:
    assert set(memory.OPTIMIZERS) == set(get_args(Hyperparameters.model_fields["optim"].annotation))
    assert {adapters for adapters, _ in memory.ACTIVATIONS} == {row.adapters for row in METHODS.values()}


def test_what_to_change_is_said_until_it_fits() -> None:
    plain = replace(SFT, hyperparameters=SETTINGS.model_copy(update={"gradient_checkpointing": False}))
    assert estimate(plain, total(plain), "x").changes == []
    little = estimate(plain, total(plain) - 1, "x")
    assert (little.fits, little.changes) == (False, ["--gradient_checkpointing true"])
    more = estimate(SFT, total(SFT) - 100_000, "x")
    assert more.changes == ["--per_device_train_batch_size 1 --gradient_accumulation_steps 8"]
    assert more.after <= more.available
    whole = replace(SFT, shape=replace(SHAPE, parameters=100_000), method=Method.FULL, length=2048)
    much = estimate(whole, 1, "x")
    assert much.changes == [
        "--per_device_train_batch_size 1 --gradient_accumulation_steps 8",
        "--optim paged_adamw_8bit",
        "--pure_bf16",
        "without --full_finetune (LoRA)",
        "--bits 4",
        "--model_max_length 256",
    ]
    assert much.after > much.available
    assert much.on_gpu is None
    new = estimate(replace(whole, fresh=True), 1, "x")
    assert "without --full_finetune (LoRA)" not in new.changes
    here = estimate(replace(SFT, cuda=False, precision="fp32"), 1, "x")
    there = replace(SFT, hyperparameters=SETTINGS.model_copy(update={
        "gradient_checkpointing": True, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 8,
    }))  # fmt: skip
    assert here.on_gpu == total(there)
    kto = replace(SFT, objective=Objective.KTO, length=100)
    assert estimate(kto, 1, "x").changes[0].startswith("--per_device_train_batch_size 2 ")


def folder_of(folder: Path, config: dict[str, Any], files: dict[str, dict[str, list[int]]]) -> Path:
    """A model's folder: configuration and headers, no weights."""
    (folder / "config.json").write_text(json.dumps(config))
    for name, tensors in files.items():
        write_safetensors(folder / name, {key: ("BF16", tuple(shape)) for key, shape in tensors.items()})
    return folder


CONFIG = {"hidden_size": 8, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 3,
          "intermediate_size": 16, "vocab_size": 100}  # fmt: skip
ONE = {"model.embed_tokens.weight": [100, 8], "model.layers.0.self_attn.q_proj.weight": [8, 8]}
TWO = {"model.layers.0.mlp.down_proj.weight": [8, 16], "model.norm.weight": [8], "lm_head.weight": [100, 8]}


def test_a_shape_is_read_from_headers(tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path, CONFIG, {"a.safetensors": ONE, "b.safetensors": TWO, "other.safetensors": ONE}
    )
    index = {"weight_map": dict.fromkeys(ONE, "a.safetensors") | dict.fromkeys(TWO, "b.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert shape_of(folder) == Shape(
        parameters=800 + 64 + 128 + 8 + 800, linear=(("q_proj", 8, 8), ("down_proj", 16, 8)), layers=3, hidden=8,
        intermediate=16, heads=4, kv_width=4, vocabulary=100, output=800,
    )  # fmt: skip


def test_a_reward_model_has_one_row_in_place_of_the_words(tmp_path: Path) -> None:
    """Made of a language model or of a reward model: the head is counted once, and gets no adapter."""
    body = {**ONE, "model.norm.weight": [8]}
    for name, head in (("words", {"lm_head.weight": [100, 8]}), ("score", {"score.weight": [1, 8]})):
        (tmp_path / name).mkdir()
        folder_of(tmp_path / name, CONFIG, {"model.safetensors": {**body, **head}})
        shape = shape_of(tmp_path / name).answering(HEADS[Head.SCORE])
        assert (shape.parameters, shape.vocabulary) == (800 + 64 + 8 + 8, 1)
        assert shape.adapters(2, ()) == 2 * (8 + 8) + 8
        assert shape_of(tmp_path / name).answering(HEADS[Head.WORDS]) == shape_of(tmp_path / name)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda folder: None, "neither model.safetensors nor"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 20), "no safetensors file"),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(b"\x05" + b"\0" * 7 + b"[1,2]"),
            "no safetensors header",
        ),
    ],
)
def test_a_folder_without_sizes_is_refused(write: Any, said: str, tmp_path: Path) -> None:
    folder_of(tmp_path, CONFIG, {})
    write(tmp_path)
    with pytest.raises(StageError, match=said):
        shape_of(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(StageError, match="this is no Hugging Face model folder"):
        sizes.shape_of(tmp_path)


@pytest.mark.parametrize(
    ("config", "said", "refused"),
    [
        ({"rope_theta": 1e6}, {"rope_theta": 1e6}, ""),
        ({"rope_parameters": {"rope_theta": 1e6}}, {"rope_theta": 1e6}, ""),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e6}}}, {"rope_theta": 1e6}, ""),
        ({"text_config": {"rope_theta": 1e6}}, {"rope_theta": 1e6}, ""),
        ({"rope_theta": 1e4}, {"rope_theta": 1e6}, "--rope_theta 1e+06: the model's own is 10000"),
        ({}, {"rope_theta": 1e6}, "the model's own is none"),
        ({"sliding_window": 4096}, {"sliding_window": 4096}, ""),
        (
            {"sliding_window": 4096, "use_sliding_window": False},
            {"sliding_window": 4096},
            "the model's own is none",
        ),
        ({"sliding_window": None}, {"sliding_window": 4096}, "the model's own is none"),
        ({}, {}, ""),
    ],
)
def test_what_is_said_of_positions_must_be_the_models_own(
    config: dict[str, Any], said: dict[str, float], refused: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    if not refused:
        context.check(tmp_path, said)
        return
    with pytest.raises(StageError) as caught:
        context.check(tmp_path, said)
    assert refused in caught.value.message
