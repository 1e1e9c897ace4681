"""What kind of files a folder holds, by those that make each format."""

from __future__ import annotations

from pathlib import Path

from speechless.contract import FailureReason, Format
from speechless.errors import StageError

ROWS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".txt")
"""Ends of the names of data; with .gz or .zst after them, too."""


def is_rows(name: str) -> bool:
    """Whether a name is that of a file of data, compressed or not."""
    return name.removesuffix(".gz").removesuffix(".zst").endswith(ROWS)


def format_of(path: Path) -> Format:
    """What a folder or a file holds, by the files that make each format; StageError(MODEL_INVALID) if unknown."""
    names = {path.name} if path.is_file() else {entry.name for entry in path.iterdir()}
    if "adapter_config.json" in names:
        return Format.ADAPTER
    if "config.json" in names:
        return Format.HUGGING_FACE
    if any(name.endswith(".gguf") for name in names):
        return Format.GGUF
    if any(is_rows(name) for name in names):
        return Format.DATASET
    raise StageError(
        FailureReason.MODEL_INVALID,
        f"{path.name}: neither a model nor a dataset",
        "a model has config.json, adapter_config.json or a .gguf file at its top; a dataset has "
        f"{', '.join(ROWS)} files",
    )
