"""A PEFT adapter: adapter_config.json, and the header of its weights."""

from __future__ import annotations

from pathlib import Path

from speechless.contract import AdapterInfo, BaseModelInfo, ModelInfo
from speechless.models.huggingface import chat_template, dtype_of, from_card
from speechless.models.quantization import parameters_of
from speechless.models.safetensors import read_header
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
        adapter=AdapterInfo(type=word(config.get("peft_type")) or "unknown", rank=whole(config.get("r"))),
    )
