"""What a plan is made from, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from speechless_operator.desired.objects import Object, Owner
from speechless_operator.desired.settings import Settings


@dataclass(frozen=True)
class Refusal:
    """The API server refused a child at the last attempt."""

    kind: str
    name: str
    code: int
    message: str


@dataclass(frozen=True)
class Observed:
    """Everything that a plan may look at."""

    obj: Object
    """The resource."""
    children: Mapping[str, tuple[Object, ...]] = field(default_factory=dict)
    """Kind to the resource's own children (by uid): ConfigMap, Job, Pod, Deployment, Service, and Event: what the Job
    controller says of pods that it could not make."""
    references: Mapping[tuple[str, str], Object] = field(default_factory=dict)
    """(kind, name) to the resources that this one refers to, as far as they exist."""
    refused: tuple[Refusal, ...] = ()
    logs: Mapping[str, str] = field(default_factory=dict)
    """Pod to the end of its log, for the pods that a plan asked for; empty where there is none to be had."""
    settings: Settings = field(default_factory=Settings)

    @property
    def owner(self) -> Owner:
        """The resource as its children know it."""
        return Owner.of(self.obj)

    def of(self, kind: str) -> tuple[Object, ...]:
        """The children of a kind."""
        return self.children.get(kind, ())

    def named(self, kind: str, name: str) -> Object | None:
        """The child of a kind and name."""
        return next((child for child in self.of(kind) if child["metadata"]["name"] == name), None)


@dataclass(frozen=True)
class Patch:
    """Some fields of a child are to change; the rest stays as it is (a JSON merge patch)."""

    kind: str
    name: str
    body: Object


@dataclass(frozen=True)
class Delete:
    """An object is to go, with what it owns."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True)
class Event:
    """Something happened that a person should see in `kubectl describe`."""

    reason: str
    message: str
    warning: bool = False


@dataclass(frozen=True)
class Plan:
    """What is to be done, in this order: apply, patch, events, status, progress, delete."""

    apply: tuple[Object, ...] = ()
    patch: tuple[Patch, ...] = ()
    delete: tuple[Delete, ...] = ()
    status: Object | None = None
    """The whole status but progress; None: leave it."""
    progress: Object | None = None
    """The last word on status.progress; None: leave it."""
    events: tuple[Event, ...] = ()
    requeue_after: float | None = None
    """Seconds until the plan should be made again though nothing changed."""
    logs: tuple[str, ...] = ()
    """Pods whose logs are to be read before this plan is final: read them, and plan again."""
