"""The running operator: source, cache, queue, workers, resync, lease, progress and health, wired together."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from speechless_operator.api.kinds import GROUP, KINDS, VERSION
from speechless_operator.desired.objects import Object
from speechless_operator.desired.settings import Settings
from speechless_operator.runtime import metrics
from speechless_operator.runtime.access import Access
from speechless_operator.runtime.cache import Cache, Change, Key
from speechless_operator.runtime.client import ApiError, KubeClient
from speechless_operator.runtime.health import Health, ResourceCollector
from speechless_operator.runtime.lease import Elector, LeaseLostError
from speechless_operator.runtime.progress import Poller
from speechless_operator.runtime.queue import WorkQueue
from speechless_operator.runtime.reconciler import Reconciler, run_workers
from speechless_operator.runtime.resources import OURS
from speechless_operator.runtime.resync import Resync
from speechless_operator.runtime.source import KopfSource
from speechless_operator.runtime.wake import concerned

LEASE_NAME = "speechless-operator"
_DRAIN_SECONDS = 15.0
_STUCK_SECONDS = 30.0
_log = logging.getLogger(__name__)


class StartError(Exception):
    """The operator cannot start; the message says what to do."""


@dataclass(frozen=True)
class Options:
    """How the operator runs."""

    settings: Settings
    identity: str
    lease_namespace: str
    lease_name: str = LEASE_NAME
    namespaces: Sequence[str] = ()
    listen: str = "0.0.0.0:8081"
    leader_elect: bool = True
    workers: int = 8
    resync_seconds: float = 300
    progress_by_proxy: bool = False
    qps: float = 100
    burst: int = 200


class Operator:
    """One replica."""

    def __init__(self, access: Access, options: Options) -> None:
        """Make the parts; nothing runs yet."""
        self._access, self._options = access, options
        self._cache = Cache()
        self._queue: WorkQueue[Key] = WorkQueue()
        self._stop = asyncio.Event()
        self._ticked = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self._client = KubeClient(access, qps=options.qps, burst=options.burst)
        self._source = KopfSource(access, self._heard, options.namespaces)
        self._resync = Resync(
            self._client,
            self._cache,
            namespaces=options.namespaces,
            seconds=options.resync_seconds,
            changed=self._changed,
            deaf=self._source.restart,
        )
        self._elector = Elector(
            self._client,
            namespace=options.lease_namespace,
            name=options.lease_name,
            identity=options.identity,
        )
        self._health = Health(
            options.listen, live=self._not_live, ready=self._not_ready, before_metrics=self._gauges
        )

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT.

        Raises:
            StartError: A CRD is missing, or the API server cannot be reached.
            LeaseLostError: Another replica may lead by now.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop.set)
        metrics.REGISTRY.register(ResourceCollector(self._cache, lambda: self._elector.leading))
        try:
            await self._check_crds()
            await self._listen()
            self._source.start()
            await self._until_stopped(self._tick(), self._resync.run(), self._lead())
        finally:
            self._queue.close()
            await self._health.stop()
            self._source.stop()
            await self._elector.release()
            await self._client.close()

    async def _until_stopped(self, *parts: Coroutine[Any, Any, None]) -> None:
        """Run all parts; the first that fails, or the order to stop, ends all."""
        tasks = [asyncio.create_task(part) for part in parts]
        stop = asyncio.create_task(self._stop.wait())
        done, _ = await asyncio.wait([*tasks, stop], return_when=asyncio.FIRST_COMPLETED)
        self._queue.close()
        if stop in done and self._elector.leading:
            _log.info("stopping: finishing what is under way")
            await asyncio.wait([tasks[-1]], timeout=_DRAIN_SECONDS)
        for task in (*tasks, stop):
            task.cancel()
        await asyncio.gather(*tasks, stop, return_exceptions=True)
        for task in done - {stop}:
            task.result()

    async def _lead(self) -> None:
        """Wait for the Lease, then work. Everything that writes is in here."""
        while not self._resync.synced:
            await asyncio.sleep(0.05)
        if self._options.leader_elect:
            await self._elector.acquire()
        else:
            self._elector.leading = True
            metrics.LEADER.set(1)
        for key in self._cache.keys(OURS):
            self._queue.add(key)
        reconciler = Reconciler(
            self._client,
            self._cache,
            self._queue,
            self._options.settings,
            keep=self._keep,
            identity=self._options.identity,
        )
        poller = Poller(self._client, self._cache, keep=self._keep, proxy=self._options.progress_by_proxy)
        beside = [asyncio.create_task(poller.run())]
        if self._options.leader_elect:
            beside.append(asyncio.create_task(self._elector.keep()))
        workers = asyncio.create_task(run_workers(reconciler, self._options.workers))
        try:
            done, _ = await asyncio.wait([*beside, workers], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (*beside, workers):
                task.cancel()
            await asyncio.gather(*beside, workers, return_exceptions=True)

    async def _check_crds(self) -> None:
        """kopf would listen to nothing, without a word, where a kind is not served."""
        try:
            served = {r["name"] for r in (await self._discover()).get("resources", [])}
        except ApiError as error:
            if error.code != 404:
                raise StartError(f"the API server at {self._access.server}: {error}") from error
            served = set()
        missing = [kind.crd_name for kind in KINDS.values() if kind.plural not in served]
        if missing:
            raise StartError(
                f"the API server does not serve {', '.join(missing)} ({VERSION}): install the CRDs first "
                "(kubectl apply --server-side -f crds/, or the chart with crds.install=true)"
            )

    async def _listen(self) -> None:
        try:
            await self._health.start()
        except OSError as error:
            raise StartError(f"--listen {self._options.listen}: {error.strerror or error}") from error

    async def _discover(self) -> Object:
        return await self._client.discover(f"/apis/{GROUP}/{VERSION}")

    # -- what is heard ---------------------------------------------------------------------------------------------

    def _heard(self, kind: str | None, obj: Object) -> None:
        """Called in kopf's thread."""
        self._loop.call_soon_threadsafe(self._take, kind, obj)

    def _take(self, kind: str | None, obj: Object) -> None:
        metrics.EVENTS_SEEN.labels(obj["kind"]).inc()
        if kind != "DELETED":
            self._keep(obj)
        elif (change := self._cache.remove(obj)) is not None:
            self._changed(change)

    def _keep(self, obj: Object) -> None:
        """Heard or written by ourselves, it is the same: known at once, and told to whom it concerns, once."""
        if (change := self._cache.put(obj)) is not None:
            self._changed(change)

    def _changed(self, change: Change) -> None:
        if self._elector.leading:  # a standby only remembers; a new leader looks at everything
            for key in concerned(change, self._cache):
                self._queue.add(key)

    # -- how it is -------------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        while True:
            self._ticked = time.monotonic()
            await asyncio.sleep(1)

    def _not_live(self) -> list[str]:
        """What only a restart mends. An API server that is away is not in here: all replicas would restart for it."""
        found = []
        if time.monotonic() - self._ticked > _STUCK_SECONDS:
            found.append("the main loop is stuck")
        if self._source.silent_seconds() > _STUCK_SECONDS:
            found.append("the thread that listens is stuck or dead")
        if self._resync.missed_in_a_row > 1:
            found.append("the watches miss changes, also after a restart of theirs")
        return found

    def _not_ready(self) -> list[str]:
        return [] if self._resync.synced else ["the cache is not filled yet"]

    def _gauges(self) -> None:
        metrics.QUEUE_DEPTH.set(len(self._queue))
        metrics.QUEUE_AGE.set(self._queue.oldest_seconds())


__all__ = ["LeaseLostError", "Operator", "Options", "StartError"]
