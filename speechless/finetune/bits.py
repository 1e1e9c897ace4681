"""Frozen weights in fewer bits, by bitsandbytes.

Four bits: Dettmers et al., 2023, arXiv:2305.14314 (QLoRA). Eight: Dettmers et al., 2022, arXiv:2208.07339 (LLM.int8()).
Linear layers are quantized while they are read, but the output's; embeddings and norms are not. Norms are computed in
float32 by Transformers, in whatever type their weights are.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from speechless.contract import Qlora

_NOISY = ("bitsandbytes.backends.cpu.ops", "bitsandbytes.autograd._functions")
"""Loggers that advise to load code from a hub, and that tell each multiplication's cast."""


def settings(held: Qlora, dtype: Any) -> Any:
    """What Transformers reads a model with (`BitsAndBytesConfig`); `dtype`: the `torch.dtype` that is computed in."""
    from transformers import BitsAndBytesConfig

    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    if held.bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=held.quant_type,
        bnb_4bit_use_double_quant=held.double_quant,
        bnb_4bit_compute_dtype=dtype,
    )


def settle(model: Any) -> None:
    """Let the layers compute alike whether the model is trained or evaluated.

    On CPUs with bfloat16 units bitsandbytes 0.50 packs a layer's weights anew when it is first evaluated. From then on
    they are multiplied in bfloat16, through a kernel that gives no gradients: a training after an evaluation would
    silently learn something else.
    """
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False


def elements(parameter: Any) -> int:
    """How many weights a parameter holds: of 4 bits, two are in a byte."""
    state = getattr(parameter, "quant_state", None)
    return int(parameter.numel() if state is None else state.shape.numel())


def source(layer: Any) -> type:
    """The class of a layer before it was quantized."""
    kind: type = getattr(layer, "source_cls", type(layer))
    return kind


@contextmanager
def types_kept(model: Any) -> Iterator[None]:
    """What makes adapters and a trainer within leaves the model's weights in their types, and adapters in float32.

    TRL rounds the adapters of a quantized model to bfloat16, in which small updates vanish, and one of its trainers
    turns embeddings to float32, which for a large vocabulary is more than the quantized layers. What begins as a copy
    of the model's weights (rows of tokens, DoRA's lengths) is copied again, so that the first step begins at the model.
    """
    import torch

    before = [(parameter, parameter.dtype) for parameter in model.parameters()]
    known = {id(parameter) for parameter, _ in before}
    yield
    for parameter, dtype in before:
        if parameter.dtype is not dtype:
            parameter.data = parameter.data.to(dtype)
    for parameter in model.parameters():
        if id(parameter) not in known:
            parameter.data = parameter.data.to(torch.float32)
    if not any(getattr(model, name, False) for name in ("is_loaded_in_4bit", "is_loaded_in_8bit")):
        return
    for layer in model.modules():
        for name, rows in getattr(layer, "trainable_tokens_delta", {}).items():
            rows.data = layer.get_base_layer().weight.data[layer.token_indices[name]].to(torch.float32)
        for name, lengths in getattr(layer, "lora_magnitude_vector", {}).items():
            into, out = layer.lora_A[name].weight, layer.lora_B[name].weight
            lengths.update_layer(
                base_layer=layer.get_base_layer(), lora_A=into, lora_B=out, scaling=layer.scaling[name]
            )
