"""What a stage says at its end: the pod's termination message."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from speechless.contract.artifact import Artifact, InputRecord, Metric
from speechless.contract.model import ContractModel
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
    message: str
    """Names the file and line, field or object at fault."""
    hint: str = ""
    """What the user can do about it."""


class StageResult(ContractModel):
    """The end of a stage. The full report is in the artifact; this is what fits."""

    version: Literal["v1"] = "v1"
    outcome: Outcome
    artifact: Artifact | None = None
    inputs: tuple[InputRecord, ...] = ()
    metrics: tuple[Metric, ...] = Field(default=(), max_length=64)
    failure: Failure | None = None
    reused: bool = False
    """The artifact was published by an earlier attempt and was found whole."""
    seconds: float = Field(default=0, ge=0)
    seed: int | None = None
    versions: dict[str, str] = {}

    def termination_message(self) -> str:
        """JSON of at most 4096 bytes: long texts are shortened first, then versions and the last metrics dropped."""
        candidate = self
        for shorten in (_same, _short_texts, _no_versions, _few_metrics):
            candidate = shorten(candidate)
            text = candidate.to_json()
            if len(text.encode()) <= TERMINATION_MESSAGE_LIMIT:
                return text
        raise ValueError(f"a result of {len(text.encode())} bytes does not fit the termination message")


def _same(result: StageResult) -> StageResult:
    return result


def _short_texts(result: StageResult) -> StageResult:
    if result.failure is None:
        return result
    failure = result.failure
    cut = failure.model_copy(update={"message": _cut(failure.message, 1200), "hint": _cut(failure.hint, 400)})
    return result.model_copy(update={"failure": cut})


def _cut(text: str, limit: int) -> str:
    """The first `limit` bytes at most, in whole characters."""
    raw = text.encode()
    return text if len(raw) <= limit else raw[: limit - 3].decode(errors="ignore") + "..."


def _no_versions(result: StageResult) -> StageResult:
    return result.model_copy(update={"versions": {}})


def _few_metrics(result: StageResult) -> StageResult:
    return result.model_copy(update={"metrics": result.metrics[:8]})
