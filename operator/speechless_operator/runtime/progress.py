"""Asks running stages how far they are and writes it to status.progress, under a field manager of its own.

Progress is news, not state: it takes what requests are left, and a stage that does not answer is asked less and less.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import uniform
from time import monotonic

import aiohttp

from speechless.contract.progress import PORT
from speechless_operator.api.kinds import KINDS
from speechless_operator.desired.objects import Object
from speechless_operator.plan import accept
from speechless_operator.runtime import metrics
from speechless_operator.runtime.cache import Cache, Change, Key, key_of
from speechless_operator.runtime.client import PROGRESS_MANAGER, ApiError, KubeClient
from speechless_operator.runtime.limiter import Lane
from speechless_operator.runtime.resources import WATCHED

FIRST, LONGEST = 5.0, 60.0
"""Seconds to the first look at a stage, and to the next at one that did not answer: 5, 10, 20, 40, 60. Python and torch
take that long to start: a stage never listens at once."""
AT_MOST_EVERY = 10.0
"""Seconds between two writes to the same resource: each is a write to etcd, and an event to everybody who watches."""
SMALL_NEWS_EVERY = 60.0
"""The same when no whole percent has passed, only steps, metrics or the time that is left."""
WRITES_A_SECOND = 20.0
"""Of all resources together: with many that run, each is looked at and written less often, but for the first time."""
LIMIT = 16_384
"""Bytes that are read of an answer."""
_TIMEOUT = 3.0
_LOOKS, _SILENT_LOOKS, _WRITES = 32, 16, 4
_TICK = 0.5
_log = logging.getLogger(__name__)

Fetch = Callable[[Object], Awaitable[bytes]]


@dataclass
class _Stage:
    """What is remembered of a pod that runs."""

    pod: Key
    due: float
    silent: int = 0
    """Looks in a row that were not answered."""
    written: float = float("-inf")
    busy: bool = field(default=False)


class Poller:
    """Looks at every running stage pod, on the leader."""

    def __init__(
        self, client: KubeClient, cache: Cache, *, keep: Callable[[Object], None], proxy: bool
    ) -> None:
        """`proxy`: through the API server, for an operator that is not on the pods' network."""
        self._client, self._cache, self._keep, self._proxy = client, cache, keep, proxy
        self._stages: dict[str, _Stage] = {}  # by the pod's uid
        # Stages that answer do not wait behind those that do not.
        self._looks, self._silent = asyncio.Semaphore(_LOOKS), asyncio.Semaphore(_SILENT_LOOKS)
        self._writes = asyncio.Semaphore(_WRITES)

    def saw(self, change: Change) -> None:
        """A pod changed. (To look through all of them twice a second took an eighth of the time with 3,000.)"""
        for pod in (change.old, change.new):
            if pod is not None:
                uid = pod["metadata"]["uid"]
                if pod is change.new and runs(pod):
                    self._stages.setdefault(uid, _Stage(key_of(pod), monotonic() + FIRST))
                else:
                    self._stages.pop(uid, None)

    def look_around(self) -> None:
        """Take all pods that are known."""
        for pod in self._cache.of_kind("Pod"):
            self.saw(Change(None, pod))

    async def run(self) -> None:
        """Until cancelled."""
        self.look_around()
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT)
        # A connection to each of thousands of pods is not kept: it is asked for little and seldom.
        connector = aiohttp.TCPConnector(limit=_LOOKS + _SILENT_LOOKS, force_close=True)
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=connector) as session,
            asyncio.TaskGroup() as group,
        ):
            fetch: Fetch = self._through_server if self._proxy else lambda pod: _directly(session, pod)
            while True:
                self._begin(group, fetch)
                await asyncio.sleep(_TICK)

    def _begin(self, group: asyncio.TaskGroup, fetch: Fetch) -> None:
        """Begin the looks that are due."""
        now = monotonic()
        for uid, stage in list(self._stages.items()):
            if not stage.busy and stage.due <= now:
                pod = self._cache.get(stage.pod)
                if pod is None or pod["metadata"]["uid"] != uid:
                    del self._stages[uid]
                else:
                    stage.busy = True
                    group.create_task(self._one(pod, stage, fetch))

    async def _one(self, pod: Object, stage: _Stage, fetch: Fetch) -> None:
        try:
            result = await self._look(pod, stage, fetch)
        except Exception:  # noqa: BLE001 - a pod says what it likes: whatever it was, the others are looked at
            result = "defect"
            stage.silent += 1
            _log.exception("progress of pod %s/%s", pod["metadata"]["namespace"], pod["metadata"]["name"])
        finally:
            stage.busy = False
        metrics.PROGRESS.labels(result).inc()
        patience = min(LONGEST, FIRST * 2.0 ** min(stage.silent - 1, 10))
        stage.due = monotonic() + (patience if stage.silent else _next_look(len(self._stages)))

    async def _look(self, pod: Object, stage: _Stage, fetch: Fetch) -> str:
        key = self._cache.root(pod)
        if key is None or not KINDS[key[0]].is_job:
            return "unowned"
        meta = pod["metadata"]
        try:
            async with self._silent if stage.silent else self._looks:
                status = accept.progress(await fetch(pod))
        except (aiohttp.ClientError, TimeoutError, ApiError) as error:
            # Not listening yet, or gone: the next look tells.
            stage.silent += 1
            _log.debug("progress of pod %s/%s: %s", meta["namespace"], meta["name"], error)
            return "silent"
        if status is None:
            stage.silent += 1
            return "unreadable"
        stage.silent = 0
        return await self._tell(key, status, stage)

    async def _tell(self, key: Key, status: Object, stage: _Stage) -> str:
        async with self._writes:
            # Looked up only now: it may have changed, ended or gone while others were written.
            obj = self._cache.get(key)
            if obj is None or _ended(obj):
                return "ended"
            if not self._is_news(obj.get("status", {}).get("progress") or {}, status, stage):
                return "same"
            try:
                self._keep(
                    await self._client.apply_status(
                        obj, {"progress": status}, PROGRESS_MANAGER, lane=Lane.PROGRESS
                    )
                )
            except ApiError as error:
                # 409: the status was just written; the next look tries again with the newer object.
                _log.debug("progress of %s %s: %s", obj["kind"], obj["metadata"]["name"], error)
                return "refused"
        stage.written = monotonic()
        return "written"

    def _is_news(self, known: Object, status: Object, stage: _Stage) -> bool:
        if known == status:
            return False
        since, running = monotonic() - stage.written, len(self._stages)
        if all(known.get(key) == status.get(key) for key in ("phase", "percent", "message", "totalSteps")):
            return since >= max(SMALL_NEWS_EVERY, running / WRITES_A_SECOND)
        return since >= pace(running)

    async def _through_server(self, pod: Object) -> bytes:
        meta = pod["metadata"]
        path = f"{WATCHED['Pod'].path(meta['namespace'], meta['name'])}:{PORT}/proxy/progress"
        return await self._client.raw(path, limit=LIMIT)


def pace(running: int) -> float:
    """Seconds between two looks at a stage that answers, and between two writes of what it says."""
    return max(AT_MOST_EVERY, running / WRITES_A_SECOND)


def _next_look(running: int) -> float:
    """The pace; with many that run some more, by chance: a thousand that began together are not told together."""
    seconds = pace(running)
    return seconds * uniform(1.0, 1.5) if seconds > AT_MOST_EVERY else seconds


async def _directly(session: aiohttp.ClientSession, pod: Object) -> bytes:
    address = pod["status"]["podIP"]
    host = f"[{address}]" if ":" in address else address
    # A pod runs what a user chose: it sends the operator nowhere else.
    async with session.get(f"http://{host}:{PORT}/progress", allow_redirects=False) as answer:
        if answer.status != 200:
            raise aiohttp.ClientError(f"status {answer.status}")
        found = bytearray()
        # Nor is more read of it than a progress has.
        while len(found) < LIMIT and (chunk := await answer.content.read(LIMIT - len(found))):
            found += chunk
        return bytes(found)


def runs(pod: Object) -> bool:
    """Whether a pod can be asked: it runs, is not ending, and is one of a Job (a served model has no progress)."""
    status, meta = pod.get("status") or {}, pod["metadata"]
    of_job = any(
        ref.get("controller") and ref.get("kind") == "Job" for ref in meta.get("ownerReferences") or []
    )
    alive = status.get("phase") == "Running" and "deletionTimestamp" not in meta
    return bool(of_job and alive and status.get("podIP"))


def _ended(obj: Object) -> bool:
    return any(c["type"] in ("Succeeded", "Failed") for c in obj.get("status", {}).get("conditions", []))
