"""What one kind that runs to an end adds to the frame of all of them (`plan/running.py`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from speechless.contract import RunIdentity, StageName
from speechless.contract.spec import StageSpec
from speechless_operator.api.common import JobSpec, ModelSource
from speechless_operator.desired.inputs import Input, Run
from speechless_operator.desired.objects import Object
from speechless_operator.desired.settings import Settings
from speechless_operator.plan.accept import Accepted
from speechless_operator.plan.conditions import Aspect
from speechless_operator.plan.observed import Observed, Plan

S = TypeVar("S", bound=JobSpec)


@dataclass(frozen=True)
class Part:
    """One Job of a run. Most runs have one; a run in shards has one each."""

    name: str = ""
    """Of the Job's and the ConfigMap's name; empty for the only one."""
    ranks: int = 1
    """Pods that work together. Rank 0 speaks for all."""


def _one(_: object) -> tuple[Part, ...]:
    return (Part(),)


def _as_rendered(stage: StageSpec, _: Part) -> StageSpec:
    return stage


def _only(found: Sequence[Accepted]) -> Accepted:
    (one,) = found
    return one


def _no_names(_: object) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True)
class RunKind(Generic[S]):
    """One kind: how its run starts, how it is watched, what is taken as its result."""

    spec: type[S]
    stage: StageName
    model: Callable[[S], ModelSource]
    data: Callable[[S, Settings], tuple[Input, ...]]
    render: Callable[[S, Run, RunIdentity], StageSpec]
    check: Callable[[S, Input, Settings], None]
    """Raises Blocked when the resolved model or the administrator's ceiling forbids the run."""
    judge: Callable[[S, Accepted], tuple[list[Aspect], Object]]
    """Conditions and status fields of the kind's own, from the result."""
    first: Callable[[S], tuple[str, ...]] = _no_names
    """Names of the metrics that are needed before others."""
    parts: Callable[[S], tuple[Part, ...]] = _one
    """The Jobs of a run."""
    part: Callable[[StageSpec, Part], StageSpec] = _as_rendered
    """What one part is told."""
    merge: Callable[[Sequence[Accepted]], Accepted] = _only
    """The run's result from those of its parts, in their order."""
    finalize: Callable[[Observed], Plan] | None = None
    """What is to be done when the resource is deleted, for kinds that set a finalizer."""
