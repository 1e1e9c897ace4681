"""What a quantization can be told: the settings of a Quantization, and the spec of the stage."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from speechless.contract.model import ContractModel
from speechless.contract.stages import DataSource, Publishing, Source, StageName


class GgufType(StrEnum):
    """llama.cpp's file types."""

    F16 = "F16"
    Q8_0 = "Q8_0"
    Q4_K_M = "Q4_K_M"


class Verify(ContractModel):
    """Measure perplexity before and after."""

    text: DataSource
    """A text file to measure it on."""
    max_perplexity_increase_percent: Annotated[float, Field(ge=0)] | None = None
    """The quantization fails above it; without it, perplexity is measured only."""


class QuantizeSettings(ContractModel):
    """How to make a model smaller, wherever that is."""

    format: Literal["GGUF"] = "GGUF"
    """GGUF: one file for llama.cpp."""
    type: GgufType = GgufType.Q4_K_M
    """GGUF's file type: F16 is half precision, Q8_0 about 8.5 bits a weight, Q4_K_M about 4.8."""


class QuantizeSpec(QuantizeSettings, Publishing):
    """Make a model smaller."""

    stage: Literal[StageName.QUANTIZE] = StageName.QUANTIZE
    model: Source
    verify: Verify | None = None
