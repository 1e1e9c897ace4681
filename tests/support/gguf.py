"""Write small GGUF files without weights, for tests of what reads them."""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

TYPES = {"F32": 0, "F16": 1, "Q5_0": 6, "Q8_0": 8, "Q4_K": 12, "Q6_K": 14}


def write_gguf(
    path: Path,
    tensors: Sequence[tuple[str, tuple[int, ...], str]] = (),
    metadata: Mapping[str, str | int | list[str]] | None = None,
) -> Path:
    """Write version 3 of the format: tensors are (name, shape in GGML's order, type)."""
    values = {"general.architecture": "llama", "llama.context_length": 256, **(metadata or {})}
    body = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values))
    for key, value in values.items():
        body += _string(key) + _value(value)
    for name, shape, kind in tensors:
        body += _string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, TYPES[kind], 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return path


def _string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _value(value: str | int | list[str]) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", 8) + _string(value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(_string, value))
