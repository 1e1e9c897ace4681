"""A PEFT adapter: adapter_config.json, and the header of its weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from speechless.contract import AdapterInfo, BaseModelInfo, ModelInfo
from speechless.models.huggingface import chat_template, dtype_of, from_card
from speechless.models.quantization import parameters_of
from speechless.models.safetensors import Tensor, read_header
from speechless.models.small import read_json, text, whole, word

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def read(folder: Path) -> ModelInfo:
    """What an adapter's folder says. StageError(MODEL_INVALID) for a file that is not what its name says."""
    config = read_json(folder / CONFIG)
    file = folder / WEIGHTS
    tensors = read_header(file) if file.is_file() else ()
    card = from_card(folder)
    base = text(config.get("base_model_name_or_path"))
    return ModelInfo(
        parameters=parameters_of(tensors, None),
        dtype=dtype_of(tensors, None),
        chat_template=chat_template(folder),
        license=card["license"],
        base_model=BaseModelInfo(name=base) if base else card["base_model"],
        labels=labels_of(config, tensors),
        adapter=AdapterInfo(type=word(config.get("peft_type")) or "unknown", rank=whole(config.get("r"))),
    )


def labels_of(config: Mapping[str, Any], tensors: Iterable[Tensor]) -> int | None:
    """Numbers that it gives a text, if it is a classifier's: its head is trained whole, and lies beside the adapter."""
    if config.get("task_type") != "SEQ_CLS":
        return None
    heads = config.get("modules_to_save")
    names = [f"{name}.weight" for name in heads if isinstance(name, str)] if isinstance(heads, list) else []
    found = (tensor for tensor in tensors if tensor.name.endswith(tuple(names)) and len(tensor.shape) == 2)
    return next((tensor.shape[0] or None for tensor in found), None)
