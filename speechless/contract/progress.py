"""How far a stage is: what it serves as JSON on :9400/progress and the operator copies into `status.progress`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from speechless.contract.artifact import Metrics
from speechless.contract.model import ContractModel, WholeText, without_nulls

PORT = 9400


class ProgressPhase(StrEnum):
    """The parts of every stage, in order."""

    FETCHING = "Fetching"
    """Inputs are read, checked and made ready: of a training, its rows are made into tokens."""
    WORKING = "Working"
    PUBLISHING = "Publishing"
    DONE = "Done"


def _short(value: Any) -> Any:
    return value[:256] if isinstance(value, str) else value


class Progress(ContractModel):
    """A snapshot. While Working, steps are the stage's own unit: optimizer steps, samples scored, tensors written.
    Before, they are what is made ready: rows that are made into tokens."""

    phase: ProgressPhase
    step: int = Field(default=0, ge=0)
    total_steps: int = Field(default=0, ge=0)
    """0 while unknown."""
    percent: float = Field(default=0, ge=0, le=100)
    remaining_seconds: int | None = Field(default=None, ge=0)
    """None while unknown."""
    message: Annotated[WholeText, BeforeValidator(_short)] = ""
    metrics: Metrics = ()
    """The latest values, such as loss and learning_rate."""

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        return without_nulls(value)
