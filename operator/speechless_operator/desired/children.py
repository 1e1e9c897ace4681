"""The table of child kinds: what the operator makes or looks at beside its own four kinds, and how it treats each.

A row says where the API server has the kind, what is watched of it, what the operator may do to it, what of it is kept
in memory, and what happens when somebody else changes it. The cache, the watches, pruning and the chart's rules are
made from the rows: a new child kind is a row here and a builder beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from speechless_operator.desired.objects import SELECTOR, Object

Slim = Callable[[Object], Object]


class Drift(StrEnum):
    """What is done when an object differs from what was built."""

    NONE = "None"
    """Not made by the operator, only looked at."""
    CREATE_ONLY = "CreateOnly"
    """Made once; a difference stays (immutable, or fixed on purpose). Deleted by somebody: made again while needed."""
    CONVERGE = "Converge"
    """Put right by server-side apply."""


class Prune(StrEnum):
    """When the operator deletes an object of the kind."""

    NEVER = "Never"
    """Goes with its owner, by owner reference."""
    ENDED = "Ended"
    """When the run has ended and its status is written."""
    UNUSED = "Unused"
    """When no revision that serves or is to serve needs it."""


@dataclass(frozen=True)
class Child:
    """One kind."""

    kind: str
    group: str
    version: str
    plural: str
    verbs: tuple[str, ...]
    """What the operator's role allows."""
    drift: Drift
    prune: tuple[Prune, ...]
    slim: Slim
    """What is kept in memory of an object: what plans read, and nothing else."""
    labels: str = SELECTOR
    """Label selector of the watch."""
    fields: str = ""
    """Field selector of the watch."""
    optional: bool = False
    """Whether a cluster may lack the API: it is watched when it is there."""


# ------------------------------------------------------------------------------------------------------- slimmers

_META = ("name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
         "labels", "ownerReferences")  # fmt: skip


def pick(of: Any, *paths: str) -> Object:
    """The named parts of an object: `spec.suspend` keeps that field of spec alone.

    >>> pick({"a": {"b": 1, "c": 2}, "d": 3}, "a.b", "x")
    {'a': {'b': 1}}
    """
    made: Object = {}
    for path in paths:
        source, target = of, made
        *above, last = path.split(".")
        for step in above:
            source = source.get(step) if isinstance(source, Mapping) else None
            if source is None:
                break
            target = target.setdefault(step, {})
        if isinstance(source, Mapping) and last in source:
            target[last] = source[last]
    return made


def meta(obj: Object, *annotations: str) -> Object:
    """Kind and metadata without what nobody reads; of the annotations only the named ones."""
    found = obj.get("metadata", {})
    kept: Object = {key: found[key] for key in _META if key in found}
    named = {key: value for key, value in (found.get("annotations") or {}).items() if key in annotations}
    if named:
        kept["annotations"] = named
    return pick(obj, "apiVersion", "kind") | {"metadata": kept}


RUN_ANNOTATION = "speechless.dev/run"
"""What was decided when a child was made, as the first version kept it: read of older children."""
BUILT_ANNOTATION = "speechless.dev/built"
"""A Deployment's spec as it was made: it stays so, whatever a newer operator would make."""
STAGE_ANNOTATION = "speechless.dev/stage"
"""What the pods of a Deployment are told: its ConfigMap is made again from it."""


def _config_map(obj: Object) -> Object:
    # Its data is what a stage is told, up to 1 MiB of it, and no plan reads it.
    return meta(obj)


def _service(obj: Object) -> Object:
    return meta(obj) | pick(obj, "spec.selector", "spec.ports", "spec.type")


def _job(obj: Object) -> Object:
    return meta(obj, RUN_ANNOTATION) | pick(
        obj,
        "spec.suspend",
        "spec.backoffLimit",
        "status.conditions",
        "status.startTime",
        "status.completionTime",
    )


def _deployment(obj: Object) -> Object:
    return meta(obj, RUN_ANNOTATION, BUILT_ANNOTATION, STAGE_ANNOTATION) | pick(obj, "spec", "status")


_CONTAINER_STATUS = ("name", "state", "lastState", "restartCount", "ready", "imageID", "image")


def _pod(obj: Object) -> Object:
    made = meta(obj) | pick(
        obj, "spec.nodeName", "status.phase", "status.reason", "status.message", "status.podIP", "status.startTime"
    )  # fmt: skip
    found = obj.get("status") or {}
    status = made.setdefault("status", {})
    for key in ("containerStatuses", "initContainerStatuses"):
        if found.get(key):
            status[key] = [pick(entry, *_CONTAINER_STATUS) for entry in found[key]]
    conditions = [
        pick(entry, "type", "status", "reason", "message")
        for entry in found.get("conditions") or []
        if entry.get("type") in ("PodScheduled", "DisruptionTarget", "Ready")
    ]
    if conditions:
        status["conditions"] = conditions
    containers = (obj.get("spec") or {}).get("containers") or []
    made.setdefault("spec", {})["containers"] = [pick(entry, "name") for entry in containers]
    return made


def _event(obj: Object) -> Object:
    return meta(obj) | pick(
        obj, "involvedObject", "reason", "message", "type", "lastTimestamp", "eventTime", "count"
    )  # fmt: skip


def _workload(obj: Object) -> Object:
    return meta(obj) | pick(obj, "spec.queueName", "spec.active", "status.conditions")


# ---------------------------------------------------------------------------------------------------------- the table

QUEUED_BY = "kueue.x-k8s.io/job-uid"
"""Label of a Kueue Workload: the uid of the Job that it queues."""

CHILDREN: dict[str, Child] = {
    child.kind: child
    for child in (
        Child("ConfigMap", "", "v1", "configmaps", ("get", "list", "watch", "create", "patch", "delete"),
              Drift.CREATE_ONLY, (Prune.ENDED, Prune.UNUSED), _config_map),
        Child("Service", "", "v1", "services", ("get", "list", "watch", "create", "patch", "delete"),
              Drift.CONVERGE, (Prune.UNUSED,), _service),
        Child("Pod", "", "v1", "pods", ("get", "list", "watch"),
              Drift.NONE, (Prune.NEVER,), _pod),
        Child("Job", "batch", "v1", "jobs", ("get", "list", "watch", "create", "patch", "delete"),
              Drift.CREATE_ONLY, (Prune.ENDED,), _job),
        Child("Deployment", "apps", "v1", "deployments", ("get", "list", "watch", "create", "patch", "delete"),
              Drift.CONVERGE, (Prune.UNUSED,), _deployment),
        # What the Job controller says of pods that were refused: nothing else tells it.
        Child("Event", "", "v1", "events", ("get", "list", "watch", "create", "patch"),
              Drift.NONE, (Prune.NEVER,), _event,
              labels="", fields="involvedObject.kind=Job,reason=FailedCreate"),
        # Why a queued Job waits.
        Child("Workload", "kueue.x-k8s.io", "v1beta2", "workloads", ("get", "list", "watch"),
              Drift.NONE, (Prune.NEVER,), _workload, labels=QUEUED_BY, optional=True),
    )
}  # fmt: skip


def pruned(when: Prune) -> tuple[str, ...]:
    """The kinds that go then, those that use others before the others.

    >>> pruned(Prune.ENDED)
    ('Job', 'ConfigMap')
    """
    return tuple(row.kind for row in reversed(CHILDREN.values()) if when in row.prune)
