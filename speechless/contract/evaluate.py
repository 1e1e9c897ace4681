"""What an evaluation can be told: the options of suites, and the spec of the stage."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from speechless.contract.model import ATOMIC, ContractModel
from speechless.contract.stages import DataSource, Publishing, Source, StageName
from speechless.contract.suites import SUITES
from speechless.contract.tables import OneOf

SuiteName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", max_length=63)]
SuiteTypeName = Annotated[str, OneOf("type of suite", lambda: SUITES)]
MetricName = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class SuiteOptions(ContractModel):
    """What a suite can be told. Which of it a kind takes is in `suites.SUITES`."""

    samples_per_task: Annotated[int, Field(ge=1, le=1000)] = 1
    """Answers for each problem."""
    k: Annotated[
        tuple[Annotated[int, Field(ge=1, le=1000)], ...],
        Field(min_length=1, max_length=16),
        ATOMIC,
    ] = (1,)
    """The k of pass@k; none may exceed samplesPerTask."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 0
    """Temperature of the sampling; 0 is greedy."""
    max_tokens: Annotated[int, Field(ge=1)] = 512
    """The largest number of tokens of an answer."""
    timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 10
    """Seconds for running the tests of one answer."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Use only this many problems or chunks of text, from the first on; without it, all."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    """Seed of the sampling."""


class Suite(SuiteOptions):
    """One test with its data and options."""

    name: SuiteName
    """The first part of its metrics' names."""
    type: SuiteTypeName
    """What kind of test it is."""
    data: DataSource
    """What it is scored on."""

    @model_validator(mode="after")
    def _fits(self) -> Suite:
        if any(k > self.samples_per_task for k in self.k):
            raise ValueError(
                f"k {list(self.k)} must lie between 1 and samplesPerTask ({self.samples_per_task})"
            )
        if self.samples_per_task > 1 and self.temperature == 0:
            raise ValueError(
                "samplesPerTask above 1 needs a temperature above 0: greedy samples are all the same"
            )
        return self


class EvaluateSettings(ContractModel):
    """How to score a model, wherever that is."""

    allow_code_execution: bool = False
    """Allow suites to run code that the model wrote. The operator must allow it, too."""


class EvaluateSpec(EvaluateSettings, Publishing):
    """Score a model."""

    stage: Literal[StageName.EVALUATE] = StageName.EVALUATE
    model: Source
    suites: tuple[Suite, ...] = Field(min_length=1, max_length=16)
    gate_metrics: tuple[str, ...] = ()
    """The metrics that somebody judges by: they come first in the result, and are never cut from it. Written where the
    result could be too long for all metrics, so that a stage of an earlier version reads the spec of a small one."""
