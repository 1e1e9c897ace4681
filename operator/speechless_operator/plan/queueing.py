"""Who may start a run's Job: the operator by spec.suspend, or a queueing system that holds the Job back.

`Job.spec.suspend` has one owner at a time. With `spec.queueName` it is the queueing system (Kueue, "Run A Kubernetes
Job"): the operator makes the Job suspended and never writes the field again. Without, it is the operator, but for a
suspension that is not its own: somebody holds the Job, and a tug of war would start and kill a pod in each round.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from speechless_operator.api.common import JobSpec
from speechless_operator.api.reasons import Reason
from speechless_operator.desired.inputs import Run
from speechless_operator.desired.objects import Object
from speechless_operator.plan.conditions import Aspect, entries


@dataclass(frozen=True)
class Hold:
    """What is to be done about a Job's suspension, and what to say of it."""

    aspect: Aspect | None
    """Why the Job waits; None while it may run."""
    suspend: bool | None = None
    """What Job.spec.suspend is to become; None: it stays."""
    remove: bool = False
    """The Job is to go, so that its quota is free; the run goes on with another one."""
    mine: bool = False
    """Whether the suspension is the operator's own."""


def hold(spec: JobSpec, run: Run, job: Object, workloads: Iterable[Object], *, running: bool) -> Hold:
    """How a Job that has not ended stands with those who may hold it. `running`: whether a pod of it still runs."""
    suspended = job["spec"].get("suspend") is True
    if spec.queue_name:
        return _in_queue(spec, spec.queue_name, workloads, suspended)
    if spec.suspend:
        if running and suspended:
            return Hold(_stopping(), mine=True)
        wanted = None if suspended else True
        return Hold(_suspended("spec.suspend is true: the run waits"), suspend=wanted, mine=True)
    if not suspended:
        return Hold(None)
    return Hold(None, suspend=False) if run.suspended else Hold(_by_others(job, workloads))


def _in_queue(spec: JobSpec, queue: str, workloads: Iterable[Object], suspended: bool) -> Hold:
    if spec.suspend:
        # A queueing system starts what it has admitted: what shall not run must not be in its queue.
        return Hold(_suspended("spec.suspend is true: the run has left its queue"), remove=True)
    return Hold(_queued(queue, workloads) if suspended else None)


def _by_others(job: Object, workloads: Iterable[Object]) -> Aspect:
    if words := _words(workloads):
        return Aspect("Admitted", False, Reason.QUEUED, words, held=True)
    message = (
        f"somebody else has set spec.suspend of Job {job['metadata']['name']}: it goes on when they take that back. "
        "A queueing system is asked by spec.queueName"
    )
    return Aspect("Admitted", False, Reason.HELD_BY_OTHERS, message, held=True)


def _suspended(message: str) -> Aspect:
    return Aspect("Progressing", False, Reason.SUSPENDED, message, held=True)


def _stopping() -> Aspect:
    return Aspect(
        "Progressing", True, Reason.SUSPENDED, "spec.suspend is true: the pod saves what it can", held=True
    )


def _queued(queue: str, workloads: Iterable[Object]) -> Aspect:
    words = _words(workloads)
    message = (
        words
        or f"waits in queue {queue}: Kueue has not spoken of it yet, and does not where it is not installed"
    )
    return Aspect("Admitted", False, Reason.QUEUED, message, held=True)


def _words(workloads: Iterable[Object]) -> str:
    """What Kueue says of a Workload: the newest reason against it."""
    for workload in workloads:
        status = workload.get("status") or {}
        found = {entry["type"]: entry for entry in entries(status)}
        for kind, bad in (("Evicted", "True"), ("QuotaReserved", "False"), ("Admitted", "False")):
            entry = found.get(kind, {})
            if entry.get("status") == bad:
                queue = (workload.get("spec") or {}).get("queueName", "")
                return f"waits in queue {queue}: {entry.get('reason', '')}: {entry.get('message', '')}"
    return ""
