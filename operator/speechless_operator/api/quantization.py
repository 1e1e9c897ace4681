"""Quantization: make a model smaller, and measure what it lost."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from speechless.contract import GgufType
from speechless_operator.api.base import ApiModel, Cel, rules
from speechless_operator.api.common import DataSource, JobSpec, ModelSource, job_immutable
from speechless_operator.api.status import JobStatus


class Verify(ApiModel):
    """Measure perplexity before and after."""

    text: DataSource
    """A text file to measure it on."""
    max_perplexity_increase_percent: Annotated[float, Field(ge=0)] | None = None
    """The quantization fails above it; without it, perplexity is measured only."""


class QuantizationSpec(JobSpec):
    """What to make smaller, and how. All but suspend and ttlSecondsAfterFinished is fixed once created."""

    model_config = rules(
        Cel(
            rule="!has(self.model.quantization)",
            message="a quantized model is not quantized again: name the model that it was made from",
            field_path=".model",
        ),
        immutable=job_immutable("Quantization"),
    )

    model: ModelSource
    """The model to make smaller."""
    format: Literal["GGUF"] = "GGUF"
    """GGUF: one file for llama.cpp."""
    type: GgufType = GgufType.Q4_K_M
    """GGUF's file type: F16 is half precision, Q8_0 about 8.5 bits a weight, Q4_K_M about 4.8."""
    verify: Verify | None = None
    """Measure what the smaller model lost."""


class QuantizationStatus(JobStatus):
    """How the quantization goes, and what came out."""
