"""Evaluation: score a model, and say whether it passes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from speechless import contract
from speechless.contract import suites
from speechless.contract.evaluate import MetricName, SuiteName, SuiteTypeName
from speechless.contract.model import Rule
from speechless_operator.api.base import ApiModel, Cel, ListMap, optional, rules
from speechless_operator.api.common import DataSource, JobSpec, ModelSource, job_immutable
from speechless_operator.api.status import JobStatus, Line


def _described(option: str, text: str) -> str:
    return f"{', '.join(suites.takers(option))}: {text[:1].lower()}{text[1:]}"


if TYPE_CHECKING:
    _Options = contract.SuiteOptions
else:
    _Options = optional(contract.SuiteOptions, _described)


def _suite_rules() -> list[Rule]:
    return suites.option_rules(
        info.alias or name for name, info in contract.SuiteOptions.model_fields.items()
    )


class Suite(_Options):
    """One test with its data and options."""

    model_config = rules(_suite_rules)

    name: SuiteName
    """The first part of its metrics' names."""
    type: SuiteTypeName
    """What kind of test it is."""
    data: DataSource = Field(
        description=" ".join(f"{row.name}: {row.data}" for row in suites.SUITES.values())
    )


class Gate(ApiModel):
    """A bound that a metric must keep for the evaluation to pass."""

    model_config = rules(
        Cel(rule="has(self.min) || has(self.max)", message="set min, max or both"),
        Cel(
            rule="!has(self.min) || !has(self.max) || self.min <= self.max",
            message="min lies above max: no value could pass",
        ),
    )

    metric: MetricName
    """Its name, such as `humaneval/pass@1`: suite, slash, metric."""
    min: float | None = None
    """Lowest passing value, inclusive."""
    max: float | None = None
    """Highest passing value, inclusive."""


class EvaluationSpec(JobSpec, contract.EvaluateSettings):
    """Which model to score, and on what. Immutable once created, but for suspend and ttlSecondsAfterFinished."""

    model_config = rules(
        lambda: [suites.code_rule()],
        immutable=job_immutable("Evaluation"),
    )

    model: ModelSource
    """The model to score."""
    suites: Annotated[list[Suite], ListMap(), Field(min_length=1, max_length=16)]
    """The tests."""
    gates: Annotated[list[Gate], ListMap("metric"), Field(max_length=32)] = []
    """Bounds that must hold for the evaluation to pass. Without any, it only measures, and opens no service's gate."""


class EvaluationStatus(JobStatus):
    """The state of the evaluation, and what it measured."""

    score: Line | None = None
    """The first metrics in one line, for `kubectl get`."""
