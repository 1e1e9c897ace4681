"""An artifact: a folder (or one GGUF file in a folder) plus its manifest `speechless.json`, written last.

A folder without a manifest is not an artifact, whatever else is in it. The digest covers every file but the manifest,
so two runs that make the same bytes make the same digest, whenever and wherever they ran.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, JsonValue, StringConstraints

from speechless.contract.model import ContractModel

MANIFEST_NAME = "speechless.json"
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]


class Format(StrEnum):
    """What kind of files an artifact holds."""

    HUGGING_FACE = "HuggingFace"
    """A model folder: config.json, safetensors, tokenizer."""
    ADAPTER = "Adapter"
    """A PEFT adapter folder; its base model is in the lineage."""
    GGUF = "GGUF"
    """One GGUF file (llama.cpp)."""
    REPORT = "Report"
    """An evaluation: samples, results, summary."""
    DATASET = "Dataset"
    """JSON Lines files."""


class FileEntry(ContractModel):
    """One file of an artifact."""

    path: str
    """Relative to the artifact's folder, with forward slashes, no `..`."""
    size: int = Field(ge=0)
    """Bytes."""
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Metric(ContractModel):
    """One number with its name, such as `humaneval/pass@1` or `perplexity/after`."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    value: float


class InputRecord(ContractModel):
    """What went in: which role it had, where it was, and the digest of what was really read."""

    name: str
    """The role: model, dataset, evalDataset, suite/<name>, calibration."""
    uri: str
    digest: Digest
    format: Format | None = None


class Artifact(ContractModel):
    """Where an artifact is and what it must digest to: what one stage hands to the next."""

    uri: str
    digest: Digest
    size_bytes: int = Field(ge=0)
    format: Format


class Manifest(ContractModel):
    """The content of `speechless.json`."""

    version: Literal["v1"] = "v1"
    format: Format
    digest: Digest
    files: tuple[FileEntry, ...]
    """Sorted by path."""
    inputs: tuple[InputRecord, ...] = ()
    """Lineage: every input with its digest."""
    parameters: dict[str, JsonValue] = {}
    """The stage spec's own settings, as they were used."""
    versions: dict[str, str] = {}
    """Library name to version."""
    metrics: tuple[Metric, ...] = ()
    seed: int | None = None
    created_by: str = ""
    """Stage and run identity, such as `finetune demo/tuned 1a2b3c4d`."""
    created_at: str = ""
    """RFC 3339, UTC. Not part of the digest."""

    @property
    def size_bytes(self) -> int:
        """Bytes of all files, the manifest not counted."""
        return sum(f.size for f in self.files)


def tree_digest(files: Iterable[FileEntry]) -> str:
    """`sha256:` and the digest of the lines `<sha256>  <size>  <path>\\n`, sorted by path as bytes."""
    lines = sorted((f.path.encode(), f"{f.sha256}  {f.size}  {f.path}\n".encode()) for f in files)
    return "sha256:" + hashlib.sha256(b"".join(line for _, line in lines)).hexdigest()
