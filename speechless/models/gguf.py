"""Read a GGUF file's header: metadata and the list of tensors, without the weights.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (version 3; little-endian).
"""

import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from speechless.contract import FailureReason
from speechless.errors import StageError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
LONGEST = 1 << 30
"""Bytes or items of one value; more is a broken file."""
DIMENSIONS = 8
"""Of a tensor; GGML has 4 (GGML_MAX_DIMS)."""
DEEPEST = 4
"""Lists in lists."""
ALIGNMENT = 32
"""Bytes; `general.alignment` says another one."""

# Metadata value types: number -> struct format. 8 is a string, 9 an array.
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
BYTES = {kind: struct.calcsize(f"<{layout}") for kind, layout in SCALARS.items()}
STRING, ARRAY = 8, 9

# enum ggml_type (ggml.h).
TENSOR_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K",
    12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S",
    20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64",
    29: "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4", 41: "Q1_0",
}  # fmt: skip
FLOATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""The types that are not quantized, as torch calls them."""
INTEGERS = frozenset({"I8", "I16", "I32", "I64"})
"""Types of tables, which are no weights."""


@dataclass(frozen=True)
class Tensor:
    """One tensor as the header lists it."""

    name: str
    shape: tuple[int, ...]
    """In GGML's order: the first dimension is the contiguous one, which quantization blocks lie along."""
    type: str


@dataclass(frozen=True)
class Header:
    """What a GGUF file says about itself."""

    metadata: dict[str, Any]
    tensors: tuple[Tensor, ...]
    data_bytes: int = 0
    """Of the tensors' data, behind the header."""

    @property
    def context_length(self) -> int | None:
        """Tokens that the model was trained for."""
        value = self.metadata.get(f"{self.metadata.get('general.architecture')}.context_length")
        return int(value) if value else None

    def types(self) -> dict[str, int]:
        """How many tensors there are of each type."""
        return dict(sorted(Counter(tensor.type for tensor in self.tensors).items()))


def read_header(path: Path) -> Header:
    """Read a file's header; `StageError` of reason `MODEL_INVALID` where it is no GGUF file or ends too early.

    Never more is read or held than the file has: what a header claims is compared with the bytes that are left.
    """
    with path.open("rb") as file:
        try:
            return _read(file, path.stat().st_size)
        except (struct.error, ValueError, UnicodeDecodeError) as problem:
            raise StageError(
                FailureReason.MODEL_INVALID,
                f"{path}: not a whole GGUF file: {problem}",
                "Convert the model again.",
            ) from problem


def _read(file: BinaryIO, size: int) -> Header:
    magic = file.read(4)
    if magic != MAGIC:
        raise ValueError(f"it begins with {magic!r}, not {MAGIC!r}")
    version, tensor_count, value_count = _numbers(file, "IQQ")
    if version not in VERSIONS:
        raise ValueError(f"version {version} of the format is unknown")
    metadata = {}
    for _ in range(value_count):
        key = _string(file)
        [kind] = _numbers(file, "I")
        metadata[key] = _value(file, kind, size)
    tensors = []
    for _ in range(tensor_count):
        name = _string(file)
        [dimensions] = _numbers(file, "I")
        if dimensions > DIMENSIONS:
            raise ValueError(f"a tensor of {dimensions} dimensions")
        shape = _numbers(file, "Q" * dimensions)
        kind, _offset = _numbers(file, "IQ")
        tensors.append(Tensor(name, shape, TENSOR_TYPES.get(kind, f"type {kind}")))
    return Header(metadata, tuple(tensors), max(0, size - _aligned(file.tell(), metadata)))


def _aligned(end: int, metadata: dict[str, Any]) -> int:
    """Where the tensors' data begins."""
    told = metadata.get("general.alignment")
    alignment = told if isinstance(told, int) and told > 0 else ALIGNMENT
    return -(-end // alignment) * alignment


def _numbers(file: BinaryIO, layout: str) -> tuple[Any, ...]:
    layout = "<" + layout
    return struct.unpack(layout, file.read(struct.calcsize(layout)))


def _string(file: BinaryIO) -> str:
    return _strings(file, 1)[0]


def _strings(file: BinaryIO, count: int) -> list[str]:
    """Texts one after the other. A vocabulary has hundreds of thousands: as few calls as possible for each."""
    read, length, found = file.read, int.from_bytes, []
    for _ in range(count):
        size = length(prefix := read(8), "little")
        if size > LONGEST:
            raise ValueError(f"a text of {size} bytes")
        raw = read(size)
        if len(prefix) != 8 or len(raw) != size:
            raise ValueError("it ends within a text")
        found.append(raw.decode(errors="replace"))
    return found


def _value(file: BinaryIO, kind: int, size: int, depth: int = 0) -> Any:
    if kind == STRING:
        return _string(file)
    if kind == ARRAY:
        item, count = _numbers(file, "IQ")
        # A text or a list in a list has 8 bytes at least.
        if count > LONGEST or count * BYTES.get(item, 8) > size - file.tell() or depth == DEEPEST:
            raise ValueError(f"a list of {count} values")
        if item in SCALARS:
            return list(struct.unpack(f"<{count}{SCALARS[item]}", file.read(count * BYTES[item])))
        if item == STRING:
            return _strings(file, count)
        return [_value(file, item, size, depth + 1) for _ in range(count)]
    if kind not in SCALARS:
        raise ValueError(f"a value of unknown type {kind}")
    return _numbers(file, SCALARS[kind])[0]
