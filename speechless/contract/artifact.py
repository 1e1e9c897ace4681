"""An artifact: a folder (or one GGUF file in a folder) plus its manifest `speechless.json`, written last.

A folder without a manifest is not an artifact, whatever else is in it. The digest covers every file but the manifest,
so two runs that make the same bytes make the same digest, whenever and wherever they ran.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, JsonValue, SerializerFunctionWrapHandler, StringConstraints
from pydantic.functional_serializers import WrapSerializer

from speechless.contract.model import ContractModel, Digest, WholeText
from speechless.contract.modelinfo import ToldModel

MANIFEST_NAME = "speechless.json"


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


ToldFormat = Annotated[
    Format | Annotated[str, StringConstraints(min_length=1, max_length=64)], Field(union_mode="left_to_right")
]
"""The format of an artifact of another stage: of one that this version does not know, its word."""


class FileEntry(ContractModel):
    """One file of an artifact."""

    path: str
    """Relative to the artifact's folder, with forward slashes, no `..`."""
    size: int = Field(ge=0)
    """Bytes."""
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


LONGEST_NAME = 128
"""Characters of a metric's name. What is longer is cut when the metric is made, and ends in a hash of the whole."""


def _short_name(value: Any) -> Any:
    if not isinstance(value, str) or len(value) <= LONGEST_NAME:
        return value
    end = f"~{hashlib.sha256(value.encode('utf-8', 'replace')).hexdigest()[:8]}"
    return value[: LONGEST_NAME - len(end)] + end


class Metric(ContractModel):
    """One number with its name, such as `humaneval/pass@1` or `perplexity/after`."""

    name: Annotated[WholeText, Field(min_length=1), BeforeValidator(_short_name)]
    value: float


def _metrics_told(value: Any) -> Any:
    """What can be read of a list of metrics: one that is garbage or null is not there, the others are."""
    return [item for item in value if _is_metric(item)] if isinstance(value, list | tuple) else ()


def _is_metric(item: Any) -> bool:
    if isinstance(item, Metric):
        return True
    if not isinstance(item, dict) or not isinstance(item.get("name"), str) or not item["name"]:
        return False
    value = item.get("value")
    return isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        return False


def _write_metrics(value: tuple[Metric, ...], write: SerializerFunctionWrapHandler) -> Any:
    return write(tuple(metric for metric in value if _is_finite(metric.value)))


Metrics = Annotated[tuple[Metric, ...], BeforeValidator(_metrics_told), WrapSerializer(_write_metrics)]
"""Written without those that are no finite number, which JSON does not have; read without those that are none."""


class InputRecord(ContractModel):
    """What went in: which role it had, where it was, and the digest of what was really read."""

    name: str
    """The role: model, dataset, evalDataset, suite/<name>, calibration."""
    uri: str
    digest: Digest
    format: ToldFormat | None = None
    revision: str | None = None
    """What the place calls the state that was read, such as a hub's commit."""


class Artifact(ContractModel):
    """Where an artifact is and what it must digest to: what one stage hands to the next."""

    uri: str
    digest: Digest
    size_bytes: int = Field(ge=0)
    format: ToldFormat
    model: ToldModel = None
    """What model it holds, in short: `ModelInfo.summary`."""


class Manifest(ContractModel):
    """The content of `speechless.json`."""

    version: Literal["v1"] = "v1"
    format: Format
    digest: Digest
    files: tuple[FileEntry, ...]
    """Sorted by path."""
    model: ToldModel = None
    """What model it holds. Not part of the digest, like everything here but the files."""
    inputs: tuple[InputRecord, ...] = ()
    """Lineage: every input with its digest."""
    parameters: dict[str, JsonValue] = {}
    """The stage spec's own settings, as they were used."""
    versions: dict[str, str] = {}
    """Library name to version."""
    metrics: Metrics = ()
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
