"""Quantization: make a model smaller, and measure what it lost."""

from __future__ import annotations

from speechless import contract
from speechless_operator.api.base import Cel, rules
from speechless_operator.api.common import DataSource, JobSpec, ModelSource, job_immutable
from speechless_operator.api.status import JobStatus


class Verify(contract.Verify):
    """Measure perplexity before and after."""

    text: DataSource
    """A text file to measure it on."""


class QuantizationSpec(JobSpec, contract.QuantizeSettings):
    """What to make smaller, and how. Immutable once created, but for suspend and ttlSecondsAfterFinished."""

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
    verify: Verify | None = None
    """Measure what the smaller model lost."""


class QuantizationStatus(JobStatus):
    """The state of the quantization, and its result."""
