"""Folders of models without weights that mean anything: real headers, and files of the right length."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechless.models.safetensors import BITS

LLAMA: Mapping[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "dtype": "bfloat16",
    "max_position_embeddings": 2048,
    "vocab_size": 512,
    "eos_token_id": 2,
}
AWQ: Mapping[str, Any] = {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"}

Tensors = Mapping[str, tuple[str, tuple[int, ...]]]
"""Name to type and shape."""
WEIGHTS: Tensors = {"model.embed_tokens.weight": ("BF16", (512, 64)), "model.norm.weight": ("F32", (64,))}


def write_safetensors(path: Path, tensors: Tensors = WEIGHTS) -> Path:
    """A file with these tensors, all of them zeros that take no room on the disk."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (kind, shape) in tensors.items():
        size = math.prod(shape) * BITS[kind] // 8
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    raw = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        file.truncate(8 + len(raw) + end)
    return path


def write_model(folder: Path, tensors: Tensors = WEIGHTS, card: str = "", **config: Any) -> Path:
    """A Hugging Face folder; `config` is beside what LLAMA says."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**LLAMA, **config}))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    write_safetensors(folder / "model.safetensors", tensors)
    if card:
        (folder / "README.md").write_text(card)
    return folder


def write_adapter(folder: Path, base: str = "org/base") -> Path:
    """A LoRA adapter of rank 8."""
    folder.mkdir(parents=True, exist_ok=True)
    told = {"peft_type": "LORA", "r": 8, "base_model_name_or_path": base}
    (folder / "adapter_config.json").write_text(json.dumps(told))
    write_safetensors(folder / "adapter_model.safetensors", {"q.lora_A.weight": ("F32", (8, 64))})
    return folder
