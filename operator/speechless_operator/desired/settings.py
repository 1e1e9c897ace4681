"""What the administrator decides: the operator's flags, as far as they reach children."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Image(StrEnum):
    """The images that stages run in."""

    TRAIN = "train"
    EVAL = "eval"
    QUANTIZE = "quantize"
    SERVE_LLAMACPP = "serve-llamacpp"


@dataclass(frozen=True)
class Settings:
    """Flags that children and their stages are made from."""

    images: Mapping[Image, str] = field(default_factory=dict)
    artifact_store: str = ""
    """`pvc://<claim>/<prefix>`; the claim lives in each resource's namespace. Empty: every resource must say."""
    allow_code_execution: bool = False
    """The ceiling above spec.allowCodeExecution."""
    allow_file_uris: bool = False
    """Whether file:// (a path in the image) may be used."""
