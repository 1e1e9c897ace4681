"""Conditions by kstatus. Aspects come first, `Ready` is computed from them by a table a kind, the phase comes last.

`Reconciling` and `Stalled` are there only while they hold; `Succeeded` and `Failed` are never overwritten, as no plan
is made for a resource that has one. The same reasons serve conditions and Events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from speechless_operator.api.reasons import Reason
from speechless_operator.desired.objects import Object
from speechless_operator.plan.accept import text
from speechless_operator.plan.observed import Event


class Phase(StrEnum):
    """One word for people, computed from the conditions."""

    WAITING = "Waiting"
    PENDING = "Pending"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    STALLED = "Stalled"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    PROGRESSING = "Progressing"
    READY = "Ready"


# What a person should look at, though it may pass by itself.
_TROUBLE = frozenset(
    {
        Reason.IMAGE_PULL_FAILED,
        Reason.UNSCHEDULABLE,
        Reason.POD_REFUSED,
        Reason.QUOTA_EXCEEDED,
        Reason.CHILD_REFUSED,
        Reason.API_ERROR,
        Reason.STATUS_REFUSED,
        Reason.OPERATOR_ERROR,
        Reason.CONTAINER_NOT_CREATED,
        Reason.CRASH_LOOPING,
        Reason.RETRYING,
        Reason.RUN_AGAIN,
        Reason.HELD_BY_OTHERS,
        Reason.SIDECAR_RUNNING,
        Reason.GATE_FAILED,
        Reason.METRIC_MISSING,
        Reason.OVERRIDDEN,
        Reason.NOT_AVAILABLE,
    }
)
# The ordinary way of a run: said in the status, and not as an Event. A run has a handful of writes, not a dozen.
_QUIET = frozenset({Reason.STARTING, Reason.RUNNING, Reason.FINISHING, Reason.RESOLVED, Reason.QUEUED})


@dataclass(frozen=True)
class Aspect:
    """One thing that a status says: a condition before it has a time."""

    type: str
    status: bool | None
    """None: Unknown."""
    reason: Reason
    message: str
    stalled: bool = False
    """Whether it stays as it is until somebody changes something."""
    held: bool = False
    """Whether somebody wants it so: neither reconciling nor stalled."""
    moving: bool = False
    """Whether it is True and still on its way, such as a roll-out."""
    as_wanted: bool = False
    """Whether it is as the spec wants it though it is not True, such as a service that is scaled to zero."""


@dataclass(frozen=True)
class Summary:
    """How a kind's aspects make `Ready`."""

    goal: str
    """The aspect that makes the resource Ready when it is True."""
    order: tuple[str, ...]
    """The first of these that is not True says why it is not, before the goal itself; if all are, the last one does."""


RUN = Summary("Succeeded", ("Failed", "InputsResolved", "Admitted", "Progressing"))
"""FineTune, Evaluation, Quantization. `Failed` counts when it is there."""
SERVICE = Summary("Available", ("ModelResolved", "GatePassed", "Progressing"))
"""InferenceService. Ready while it serves, also while another revision waits behind a closed gate."""


def now_text(now: datetime) -> str:
    """A time as Kubernetes writes it.

    >>> from datetime import UTC
    >>> now_text(datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC))
    '2026-01-02T03:04:05Z'
    """
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def summarize(summary: Summary, aspects: Sequence[Aspect]) -> list[Aspect]:
    """`Ready` and what kstatus wants beside it, then the aspects."""
    known = {aspect.type: aspect for aspect in aspects}
    ordered = [known[kind] for kind in summary.order if kind in known]
    goal = known.get(summary.goal)
    ready = goal is not None and (goal.status is True or goal.as_wanted)
    against = [a for a in ordered if not _good(a) and a.type != summary.goal]
    moving = [a for a in ordered if a.moving]
    if ready and goal is not None:
        says = goal
    else:
        says = next(iter((*against, *moving, *([goal] if goal else []), *ordered[-1:])))
    made = [Aspect("Ready", ready, says.reason, says.message)]
    # What serves may have something else going on. A gate that closes behind what serves is no stall of it.
    others = [*against, *moving] if ready else [says]
    stuck = next((a for a in others if a.stalled and not (ready and a.type == "GatePassed")), None)
    on_its_way = next((a for a in others if not a.stalled and not a.held), None)
    if stuck is not None:
        made.append(Aspect("Stalled", True, stuck.reason, stuck.message))
    elif on_its_way is not None:
        made.append(Aspect("Reconciling", True, on_its_way.reason, on_its_way.message))
    return [*made, *aspects]


def _good(aspect: Aspect) -> bool:
    return (aspect.status is True) != (aspect.type == "Failed")


def conditions(
    old: Mapping[str, object], generation: int, now: datetime, summary: Summary, aspects: Sequence[Aspect]
) -> list[Object]:
    """All conditions of a status; a time changes only when its status does."""
    before = {entry["type"]: entry for entry in entries(old)}
    made = []
    for aspect in summarize(summary, aspects):
        status = {True: "True", False: "False", None: "Unknown"}[aspect.status]
        earlier = before.get(aspect.type, {})
        since = earlier.get("lastTransitionTime") if earlier.get("status") == status else None
        made.append(
            {
                "type": aspect.type,
                "status": status,
                "reason": aspect.reason.value,
                "message": text(aspect.message),
                "observedGeneration": generation,
                "lastTransitionTime": since or now_text(now),
            }
        )
    return made


_HELD = (Reason.SUSPENDED.value, Reason.HELD_BY_OTHERS.value, Reason.QUEUED.value)


def phase(found: Sequence[Object]) -> Phase:
    """One word for people, from the conditions alone."""
    known = {entry["type"]: entry for entry in found}

    def true(kind: str) -> bool:
        return kind in known and known[kind]["status"] == "True"

    why = known.get("Ready", {}).get("reason")
    for kind, word in (
        ("Succeeded", Phase.SUCCEEDED), ("Failed", Phase.FAILED), ("Stalled", Phase.STALLED), ("Ready", Phase.READY),
    ):  # fmt: skip
        if true(kind) and not (kind == "Ready" and true("Reconciling")):
            return word
    if why in _HELD:
        return Phase.SUSPENDED
    if why == Reason.WAITING_FOR_INPUT.value and not true("Ready"):
        return Phase.WAITING
    if "Available" in known:
        return Phase.PROGRESSING
    if true("Progressing") and why in (
        Reason.RUNNING.value,
        Reason.FINISHING.value,
        Reason.SIDECAR_RUNNING.value,
    ):
        return Phase.RUNNING
    return Phase.PENDING


def entries(status: Mapping[str, object]) -> list[Object]:
    """The conditions of a status that have a type, whoever wrote them."""
    found = status.get("conditions")
    found = found if isinstance(found, list) else []
    return [entry for entry in found if isinstance(entry, dict) and isinstance(entry.get("type"), str)]


def find(status: Mapping[str, object], kind: str) -> Object | None:
    """A status' condition of a type."""
    return next((entry for entry in entries(status) if entry["type"] == kind), None)


def holds(status: Mapping[str, object], kind: str) -> bool:
    """Whether a status' condition is True."""
    found = find(status, kind)
    return found is not None and found.get("status") == "True"


def ended(status: Mapping[str, object]) -> bool:
    """Whether a run's outcome is decided, for ever."""
    return holds(status, "Succeeded") or holds(status, "Failed")


# Conditions whose changes are told as Events; the others say the same again.
_TOLD = ("Ready", "Passed", "GatePassed")


def transitions(old: Object, new: Object) -> tuple[Event, ...]:
    """An Event for every told condition whose status or reason changed, but for the ordinary way of a run."""
    found: list[Event] = []
    bad = holds(new, "Stalled")
    for kind in _TOLD:
        before, after = find(old, kind) or {}, find(new, kind)
        if after is None or (before.get("status"), before.get("reason")) == (
            after["status"],
            after["reason"],
        ):
            continue
        reason = Reason(after["reason"])
        if reason in _QUIET or any(event.reason == reason.value for event in found):
            continue
        found.append(Event(reason.value, after["message"], reason in _TROUBLE or (bad and kind == "Ready")))
    return tuple(found)
