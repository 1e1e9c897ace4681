"""How far a stage is: what it serves as JSON on :9400/progress and the operator copies into `status.progress`."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from speechless.contract.artifact import Metric
from speechless.contract.model import ContractModel

PORT = 9400


class ProgressPhase(StrEnum):
    """The parts of every stage, in order."""

    FETCHING = "Fetching"
    WORKING = "Working"
    PUBLISHING = "Publishing"
    DONE = "Done"


class Progress(ContractModel):
    """A snapshot. Steps are the stage's own unit: optimizer steps, samples scored, tensors written."""

    phase: ProgressPhase
    step: int = Field(default=0, ge=0)
    total_steps: int = Field(default=0, ge=0)
    """0 while unknown."""
    percent: float = Field(default=0, ge=0, le=100)
    remaining_seconds: int | None = Field(default=None, ge=0)
    """None while unknown."""
    message: str = Field(default="", max_length=256)
    metrics: tuple[Metric, ...] = ()
    """The latest values, such as loss and learning_rate."""
