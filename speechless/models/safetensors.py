"""The header of a safetensors file: names, types and shapes of its tensors, without the weights.

The format: https://github.com/huggingface/safetensors (Format): eight bytes of length, little-endian, then JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.models.small import broken, read_json, whole

LARGEST_HEADER = 100_000_000
"""Bytes: the limit of the safetensors library itself (MAX_HEADER_SIZE)."""
INDEX = "model.safetensors.index.json"
ONE = "model.safetensors"
BITS = {
    "F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16, "U16": 16,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I8": 8, "U8": 8, "BOOL": 8, "F4": 4,
}  # fmt: skip
"""Of an element of each type."""
TORCH = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}  # fmt: skip
"""The floats, as torch calls them."""


class Tensor(NamedTuple):
    """One tensor as the header lists it."""

    name: str
    type: str
    """Such as BF16."""
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


def read_header(path: Path) -> tuple[Tensor, ...]:
    """The tensors of a file. StageError(MODEL_INVALID) where it is no safetensors file, or not as long as it says."""
    size = path.stat().st_size
    with path.open("rb") as file:
        begin = file.read(8)
        if begin == b"version ":
            what = f"{path.parent.name}/{path.name}: a pointer of Git LFS, not the weights"
            raise StageError(FailureReason.MODEL_INVALID, what, "'git lfs pull' brings them")
        length = int.from_bytes(begin, "little")
        if size < 8 or length > min(size - 8, LARGEST_HEADER):
            raise broken(
                path, f"no safetensors file, or torn: a header of {length} bytes in a file of {size}"
            )
        raw = file.read(length)
    try:
        told = json.loads(raw)
        tensors = tuple(_tensors(told))
        end = max((tensor["data_offsets"][1] for name, tensor in told.items() if name != _NOTES), default=0)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as problem:
        raise broken(path, f"no safetensors header: {type(problem).__name__}: {str(problem)[:200]}") from None
    if 8 + length + end != size:
        raise broken(path, f"torn: {size} bytes instead of {8 + length + end}")
    return tensors


_NOTES = "__metadata__"


def _tensors(told: dict[str, dict[str, object]]) -> Iterator[Tensor]:
    for name, entry in told.items():
        if name == _NOTES:
            continue
        shape = entry["shape"]
        sides = [whole(side, 0) for side in shape] if isinstance(shape, list) else [None]
        if None in sides:
            raise ValueError(f"{name}: its shape is {str(shape)[:80]}")
        yield Tensor(name, str(entry["dtype"]), tuple(side for side in sides if side is not None))


def weights_of(folder: Path) -> list[Path]:
    """The files with a model's weights, each weight once; none where they are of another format, or not all there.

    A folder may have the same weights a second time under another name, as `consolidated.safetensors` of Mistral's.
    """
    shards = read_json(folder / INDEX).get("weight_map")
    if isinstance(shards, dict) and shards:
        names = sorted({name for name in shards.values() if isinstance(name, str)})
        if any("/" in name or "\\" in name for name in names):
            raise broken(folder / INDEX, "it names a file that is not in the same folder")
        files = [folder / name for name in names]
    elif (folder / ONE).is_file():
        files = [folder / ONE]
    else:
        files = sorted(folder.glob("*.safetensors"))
        files = [file for file in files if not file.name.startswith("consolidated")] or files
    return files if all(file.is_file() for file in files) else []
