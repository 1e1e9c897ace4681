"""What a stage says at its end: the pod's termination message. It always fits, whatever is in it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from speechless.contract.artifact import Artifact, InputRecord, Metric, Metrics
from speechless.contract.model import ContractModel, WholeText, cut, without_nulls
from speechless.contract.reasons import FailureReason

TERMINATION_MESSAGE_LIMIT = 4096
"""Bytes that the kubelet keeps of /dev/termination-log (Kubernetes, "Customizing the termination message")."""


class Outcome(StrEnum):
    """How it ended."""

    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class Failure(ContractModel):
    """What was wrong, where, and what to do."""

    reason: FailureReason
    message: WholeText
    """Names the file and line, field or object at fault."""
    hint: WholeText = ""
    """What the user can do about it."""

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        """A reason of a later version is an internal error to this one; its word stands before the message."""
        told = without_nulls(value)
        if isinstance(told, dict) and isinstance(told.get("reason"), str):
            word = told["reason"]
            if word not in set(FailureReason):
                message = f"{word}: {told.get('message', '')}"
                return told | {"reason": FailureReason.INTERNAL_ERROR, "message": message}
        return told


def _texts_told(value: Any) -> Any:
    """What can be read of a map to texts."""
    if not isinstance(value, dict):
        return {}
    return {key: text for key, text in value.items() if isinstance(key, str) and isinstance(text, str)}


class StageResult(ContractModel):
    """The end of a stage. The full report is in the artifact; this is what fits.

    Read tolerantly: a metric or a version that is garbage or null is not there, and says nothing of the rest.
    """

    version: Literal["v1"] = "v1"
    outcome: Outcome
    artifact: Artifact | None = None
    inputs: tuple[InputRecord, ...] = ()
    metrics: Metrics = ()
    """Those that gates need first, then by importance: what does not fit is cut from the end."""
    gate_values: tuple[float | None, ...] = ()
    """The values of the spec's `gateMetrics` in their order, None for what was not measured. Written only where the
    names of so many would not fit; `measured` puts the two together."""
    failure: Failure | None = None
    reused: bool = False
    """The artifact was published by an earlier attempt and was found whole."""
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0
    seed: int | None = None
    versions: Annotated[dict[str, WholeText], BeforeValidator(_texts_told)] = {}

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        return without_nulls(value)

    def measured(self, gate_metrics: Sequence[str] = ()) -> dict[str, float]:
        """Metrics by name, the first of a name; `gate_metrics` are the spec's."""
        found: dict[str, float] = {}
        for metric in self.metrics:
            found.setdefault(metric.name, metric.value)
        if len(gate_metrics) == len(self.gate_values):
            pairs = zip(gate_metrics, self.gate_values, strict=True)
            found = {name: value for name, value in pairs if value is not None} | found
        return found

    def termination_message(self, gate_metrics: Sequence[str] = ()) -> str:
        """JSON of at most 4096 bytes. Never raises; what is cut is cut in this order:

        long texts; versions; where inputs were (whoever rendered the spec knows); the last metrics, never those that
        `gate_metrics` names; inputs but the model; the names of the gates' metrics, whose values are then told by their
        place; in the end everything but the outcome, the artifact and the reason.
        """
        text = ""
        try:
            for candidate in _shorter(self, gate_metrics):
                text = candidate.to_json()
                if len(text.encode()) <= TERMINATION_MESSAGE_LIMIT:
                    return text
        except (ValueError, TypeError, RecursionError) as problem:
            return _told(f"the result cannot be written: {type(problem).__name__}")
        return _told(f"the result has {len(text.encode())} bytes at least, which do not fit")


def _told(why: str) -> str:
    """What is left when nothing else can be said."""
    failure = Failure(reason=FailureReason.INTERNAL_ERROR, message=why, hint="the stage's log has the whole")
    return StageResult(outcome=Outcome.FAILED, failure=failure).to_json()


def _shorter(result: StageResult, gate_metrics: Sequence[str]) -> Iterator[StageResult]:
    """The result, then the same with less and less in it."""
    first = _gates_first(result, gate_metrics)
    yield first
    steps: tuple[Callable[[StageResult], StageResult], ...] = (_short_texts, _no_versions, _no_places)
    for step in steps:
        first = step(first)
        yield first
    needed = len({*gate_metrics} & {metric.name for metric in first.metrics})
    yield _as_many_metrics(first, needed)
    model = tuple(found for found in first.inputs if found.name == "model")
    first = first.model_copy(update={"metrics": first.metrics[:needed], "inputs": model})
    yield first
    known = {metric.name: metric.value for metric in first.metrics}
    values = tuple(known.get(name) for name in gate_metrics)
    first = first.model_copy(update={"metrics": (), "gate_values": values})
    yield first
    artifact = first.artifact and first.artifact.model_copy(update={"model": None})
    yield StageResult(outcome=first.outcome, artifact=artifact, failure=first.failure, gate_values=values)


def _as_many_metrics(result: StageResult, least: int) -> StageResult:
    """The result with as many of its first metrics as there is room for, `least` at least."""

    def cut_to(count: int) -> StageResult:
        return result.model_copy(update={"metrics": result.metrics[:count]})

    def too_large(count: int) -> bool:
        return len(cut_to(count).to_json().encode()) > TERMINATION_MESSAGE_LIMIT

    return cut_to(max(least, bisect_left(range(1, len(result.metrics) + 1), True, key=too_large)))


def _gates_first(result: StageResult, gate_metrics: Sequence[str]) -> StageResult:
    """The metrics in the order in which they are kept, each name once."""
    found: dict[str, Metric] = {}
    for metric in result.metrics:
        found.setdefault(metric.name, metric)
    named = [found.pop(name) for name in gate_metrics if name in found]
    return result.model_copy(update={"metrics": (*named, *found.values())})


def _short_texts(result: StageResult) -> StageResult:
    failure = result.failure
    if failure is not None:
        update = {"message": cut(failure.message, 1200), "hint": cut(failure.hint, 400)}
        failure = failure.model_copy(update=update)
    versions = {cut(name, 64): cut(text, 128) for name, text in result.versions.items()}
    return result.model_copy(update={"failure": failure, "versions": versions})


def _no_versions(result: StageResult) -> StageResult:
    return result.model_copy(update={"versions": {}})


def _no_places(result: StageResult) -> StageResult:
    """The inputs by name and digest."""
    inputs = tuple(found.model_copy(update={"uri": ""}) for found in result.inputs)
    return result.model_copy(update={"inputs": inputs})
