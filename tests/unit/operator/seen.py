"""Objects as the API server would tell of them, and a client that tells what a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from typing import Any

from speechless_operator.desired.objects import Object
from speechless_operator.runtime.client import ApiError, Events, Page
from speechless_operator.runtime.resources import Resource


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a test's coroutine; one that hangs fails. A busy machine may take long: nothing here measures that."""
    asyncio.run(asyncio.wait_for(work, 90))


def at(obj: Any, version: int, uid: str = "u", namespace: str = "demo", **more: Any) -> Any:
    """An object as the API server would have it."""
    meta = {"resourceVersion": str(version), "uid": uid, "namespace": namespace, "generation": 1}
    return obj | more | {"metadata": obj["metadata"] | meta}


def child(version: int, uid: str = "j", owner: str = "u", name: str = "tuned-1", **more: Any) -> Any:
    """A Job of a resource."""
    labels = {"speechless.dev/kind": "FineTune", "speechless.dev/name": "tuned", "speechless.dev/uid": owner}
    references = [
        {"apiVersion": "speechless.dev/v1alpha1", "kind": "FineTune", "uid": owner, "controller": True}
    ]
    meta = {"name": name, "labels": labels, "ownerReferences": references}
    return at({"kind": "Job", "metadata": meta}, version, uid, **more)


def pod(version: int, uid: str = "p", job: str = "j", name: str = "tuned-1-x", **more: Any) -> Any:
    """A pod of a Job."""
    labels = {"speechless.dev/kind": "FineTune", "speechless.dev/name": "tuned", "speechless.dev/uid": "u"}
    references = [{"apiVersion": "batch/v1", "kind": "Job", "uid": job, "controller": True}]
    meta = {"name": name, "labels": labels, "ownerReferences": references}
    status = {"phase": "Running", "podIP": "10.0.0.1"}
    return at({"kind": "Pod", "metadata": meta, "status": status}, version, uid, **more)


def failed_create(version: int, job_uid: str, name: str = "e") -> Any:
    """What the Job controller says."""
    about = {"kind": "Job", "uid": job_uid}
    return at({"kind": "Event", "metadata": {"name": name}, "involvedObject": about}, version, uid=name)


def bookmark(version: int) -> tuple[str, Object]:
    """What a server says when nothing happened."""
    return "BOOKMARK", {"metadata": {"resourceVersion": str(version)}}


class Told:
    """A client that tells what it was given: lists, and watches, each once; then it waits for ever."""

    def __init__(self) -> None:
        self.lists: list[Page | ApiError] = []
        self.watches: list[Events | ApiError] = []
        self.objects: dict[str, Object] = {}
        self.watched_from: list[int] = []
        self.idle = asyncio.Event()

    async def pages(self, resource: Resource, namespace: str | None = None, **_: Any) -> AsyncIterator[Page]:
        if not self.lists:
            self.idle.set()
            await asyncio.Event().wait()
        answer = self.lists.pop(0)
        if isinstance(answer, ApiError):
            raise answer
        yield answer

    async def watch(
        self, resource: Resource, namespace: str | None, version: int, **_: Any
    ) -> AsyncGenerator[Events, None]:
        self.watched_from.append(version)
        if not self.watches:
            yield []
            self.idle.set()
            await asyncio.Event().wait()
        answer = self.watches.pop(0)
        if isinstance(answer, ApiError):
            raise answer
        yield []
        yield answer

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        if name not in self.objects:
            raise ApiError(404, "not found", f"GET {name}")
        return self.objects[name]
