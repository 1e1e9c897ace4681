"""What a plan is made from, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from speechless_operator.desired.objects import Object, Owner
from speechless_operator.desired.settings import Settings


class At(StrEnum):
    """Where something went wrong."""

    APPLY = "apply"
    """A child was to be made or put right."""
    PATCH = "patch"
    """Some fields of a child were to change."""
    DELETE = "delete"
    READ = "read"
    """Something was to be looked at: a log, a live list."""
    STATUS = "status"
    """The status was to be written."""
    DEFECT = "defect"
    """The operator itself raised an error."""


@dataclass(frozen=True)
class Trouble:
    """What went wrong when a plan was carried out. The next plan is made with it, so that the resource tells it."""

    at: At
    kind: str = ""
    name: str = ""
    code: int = 0
    """The API server's answer; 0: none came."""
    message: str = ""
    times: int = 1
    """How often in a row."""
    waits: bool = False
    """Whether it is only the turn of something that is on its way out."""

    @property
    def final(self) -> bool:
        """Whether the same again would be answered the same: it is about the object, not about the moment."""
        return self.code in (400, 403, 404, 405, 409, 413, 415, 422)


@dataclass(frozen=True)
class Look:
    """What is to be read from the API server itself before a plan is final: the cache may be behind."""

    jobs: tuple[str, ...] = ()
    """These Jobs, and every pod of the resource, whatever uid it had."""
    config_maps: tuple[str, ...] = ()
    """The data of these ConfigMaps, which the cache does not keep."""


@dataclass(frozen=True)
class Live:
    """What a look has found."""

    jobs: Mapping[str, Object] = field(default_factory=dict)
    """Name to Job, for those that are there."""
    pods: tuple[Object, ...] = ()
    config_maps: Mapping[str, Object] = field(default_factory=dict)
    """Name to ConfigMap, for those that are there."""


@dataclass(frozen=True)
class Observed:
    """Everything that a plan may look at."""

    obj: Object
    """The resource."""
    children: Mapping[str, tuple[Object, ...]] = field(default_factory=dict)
    """Kind to the resource's own children (by uid): ConfigMap, Job, Pod, Deployment, Service; and of its Jobs: Event,
    what the Job controller says of pods that it could not make, and Workload, what a queueing system says."""
    references: Mapping[tuple[str, str], Object] = field(default_factory=dict)
    """(kind, name) to the resources that this one refers to, as far as they exist."""
    troubles: tuple[Trouble, ...] = ()
    """What went wrong at the last attempt; empty once all went well."""
    logs: Mapping[str, str] = field(default_factory=dict)
    """Pod to the end of its log, for the pods that a plan asked for; empty where there is none to be had."""
    live: Live | None = None
    """What a look that a plan asked for has found."""
    fresh: bool = True
    """Whether no resource of this name was here before, as far as this process can know."""
    settings: Settings = field(default_factory=Settings)

    @cached_property
    def owner(self) -> Owner:
        """The resource as its children know it."""
        return Owner.of(self.obj)

    @property
    def status(self) -> Object:
        """The resource's status as it was last written."""
        found = self.obj.get("status")
        return found if isinstance(found, dict) else {}

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
    """What is to be done, in this order: status, apply, patch, delete, events, progress.

    The status goes first: it says which run or revision is meant before anything of it exists, and a status that
    somebody else has written meanwhile (409) stops the rest.
    """

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
    look: Look | None = None
    """What is to be read before this plan is final: read it, and plan again."""
