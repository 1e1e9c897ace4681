"""How large a model is, by its configuration and the headers of its weights; the weights themselves are not read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.finetune.context import configuration

_MOST_HEADER = 100_000_000
"""Bytes: safetensors' own limit of a header."""
_TABLES = ("embed", "wte", "wpe", "lm_head", "shared")
"""Parts of the names of what is looked up, and of the output's layer: none of these gets an adapter."""


@dataclass(frozen=True)
class Shape:
    """What memory depends on."""

    parameters: int
    linear: tuple[tuple[str, int, int], ...]
    """(name, inputs, outputs) of each layer that can have an adapter; the name is its last part, such as q_proj."""
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_width: int
    """Heads of keys times their size."""
    vocabulary: int

    def adapters(self, rank: int, names: tuple[str, ...]) -> int:
        """Parameters of low-rank adapters: rank times (inputs + outputs) of each layer. No names: all layers."""
        return sum(rank * (into + out) for name, into, out in self.linear if not names or name in names)


def shape_of(folder: Path) -> Shape:
    """The shape of the model in a folder. StageError(MODEL_INVALID) without a configuration or safetensors."""
    config = configuration(folder)

    def number(*names: str, default: int = 0) -> int:
        return next((int(config[name]) for name in names if isinstance(config.get(name), int)), default)

    tensors = dict(_tensors(folder))
    heads = number("num_attention_heads", "n_head", default=1)
    hidden = number("hidden_size", "n_embd", "d_model")
    size = number("head_dim", default=hidden // heads)
    return Shape(
        parameters=sum(math.prod(dimensions) for dimensions in tensors.values()),
        linear=tuple(
            (name.split(".")[-2], dimensions[1], dimensions[0])
            for name, dimensions in tensors.items()
            if len(dimensions) == 2 and name.endswith(".weight") and not any(part in name for part in _TABLES)
        ),
        layers=number("num_hidden_layers", "n_layer"),
        hidden=hidden,
        intermediate=number("intermediate_size", "n_inner", default=4 * hidden),
        heads=heads,
        kv_width=number("num_key_value_heads", default=heads) * size,
        vocabulary=number("vocab_size"),
    )


def _tensors(folder: Path) -> Iterator[tuple[str, list[int]]]:
    """Names and dimensions. A folder may hold the same weights in other files, too: the index says which count."""
    index = folder / "model.safetensors.index.json"
    try:
        if index.is_file():
            files = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
        else:
            files = [path.name for path in (folder / "model.safetensors",) if path.is_file()]
        if not files:
            what = f"{folder.name}: no model.safetensors: nothing tells how large the model is"
            raise StageError(FailureReason.MODEL_INVALID, what, "bring the weights as safetensors")
        for name in files:
            for tensor, told in _header(folder / name).items():
                if tensor != "__metadata__":
                    yield tensor, [int(length) for length in told["shape"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"{folder.name}: the header of its weights cannot be read: {str(error)[:200]}"
        raise StageError(FailureReason.MODEL_INVALID, what, "check the model's files") from error


def _header(file: Path) -> dict[str, dict[str, list[int]]]:
    """A safetensors header: 8 bytes with its length, little-endian, then JSON."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > _MOST_HEADER:
            raise ValueError(f"{file.name}: no safetensors file")
        return dict(json.loads(stream.read(length)))
