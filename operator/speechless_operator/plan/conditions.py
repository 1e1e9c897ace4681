"""Conditions by kstatus, from one table a kind of state.

`Ready` is computed from the phase; `Reconciling` and `Stalled` are there only while they hold; `Succeeded` and `Failed`
are never overwritten, as no plan is made for a resource that has one. The same reasons serve conditions and Events.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from speechless_operator.api.reasons import Reason
from speechless_operator.desired.objects import Object
from speechless_operator.plan.observed import Event

MESSAGE_LIMIT = 4096


class Phase(StrEnum):
    """One word for people, and what the conditions are computed from."""

    WAITING = "Waiting"
    PENDING = "Pending"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    STALLED = "Stalled"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    PROGRESSING = "Progressing"
    READY = "Ready"


@dataclass(frozen=True)
class _Row:
    ready: bool
    also: tuple[str, ...] = ()


# Phase to Ready and the conditions that are True beside it. kstatus reads Reconciling as InProgress and Stalled as
# Failed; with neither, Ready=False is InProgress, which is what a suspended resource is.
TABLE = {
    Phase.WAITING: _Row(False, ("Reconciling",)),
    Phase.PENDING: _Row(False, ("Reconciling",)),
    Phase.RUNNING: _Row(False, ("Reconciling",)),
    Phase.PROGRESSING: _Row(False, ("Reconciling",)),
    Phase.SUSPENDED: _Row(False),
    Phase.STALLED: _Row(False, ("Stalled",)),
    Phase.SUCCEEDED: _Row(True, ("Succeeded",)),
    Phase.FAILED: _Row(False, ("Stalled", "Failed")),
    Phase.READY: _Row(True),
}

# What a person should look at, though it may pass by itself.
_TROUBLE = frozenset(
    {
        Reason.IMAGE_PULL_FAILED,
        Reason.UNSCHEDULABLE,
        Reason.POD_REFUSED,
        Reason.QUOTA_EXCEEDED,
        Reason.CHILD_REFUSED,
        Reason.CONTAINER_NOT_CREATED,
        Reason.CRASH_LOOPING,
        Reason.RETRYING,
        Reason.GATE_FAILED,
        Reason.METRIC_MISSING,
        Reason.OVERRIDDEN,
        Reason.NOT_AVAILABLE,
    }
)


@dataclass(frozen=True)
class State:
    """Where a resource stands, and why."""

    phase: Phase
    reason: Reason
    message: str


@dataclass(frozen=True)
class Aspect:
    """A condition of one kind's own, such as Passed."""

    type: str
    status: bool | None
    """None: Unknown."""
    reason: Reason
    message: str


def now_text(now: datetime) -> str:
    """A time as Kubernetes writes it.

    >>> from datetime import UTC
    >>> now_text(datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC))
    '2026-01-02T03:04:05Z'
    """
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def conditions(
    old: Object, generation: int, now: datetime, state: State, aspects: Iterable[Aspect]
) -> list[Object]:
    """All conditions of a status; a time changes only when its status does."""
    row = TABLE[state.phase]
    wanted = [
        Aspect("Ready", row.ready, state.reason, state.message),
        *(Aspect(name, True, state.reason, state.message) for name in row.also),
        *aspects,
    ]
    before = {condition["type"]: condition for condition in old.get("conditions", [])}
    made = []
    for aspect in wanted:
        status = {True: "True", False: "False", None: "Unknown"}[aspect.status]
        earlier = before.get(aspect.type, {})
        same = earlier.get("status") == status
        made.append(
            {
                "type": aspect.type,
                "status": status,
                "reason": aspect.reason.value,
                "message": aspect.message[:MESSAGE_LIMIT],
                "observedGeneration": generation,
                "lastTransitionTime": earlier["lastTransitionTime"] if same else now_text(now),
            }
        )
    return made


def find(status: Object, kind: str) -> Object | None:
    """A status' condition of a type."""
    return next((c for c in status.get("conditions", []) if c["type"] == kind), None)


def holds(status: Object, kind: str) -> bool:
    """Whether a status' condition is True."""
    found = find(status, kind)
    return found is not None and found["status"] == "True"


# Conditions whose changes are told as Events; the others say the same again.
_TOLD = ("Ready", "Passed", "GatePassed")


def transitions(old: Object, new: Object) -> tuple[Event, ...]:
    """An Event for every told condition whose status or reason changed."""
    found = []
    bad = holds(new, "Stalled")
    for kind in _TOLD:
        before, after = find(old, kind) or {}, find(new, kind)
        if after is None or (before.get("status"), before.get("reason")) == (
            after["status"],
            after["reason"],
        ):
            continue
        warning = Reason(after["reason"]) in _TROUBLE or (bad and kind == "Ready")
        found.append(Event(after["reason"], after["message"], warning))
    return tuple(found)
