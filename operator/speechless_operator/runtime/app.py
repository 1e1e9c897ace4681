"""The running operator: ears, cache, queue, workers, resync, lease, progress and health, wired together."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from speechless_operator.desired.objects import Object
from speechless_operator.desired.settings import Settings
from speechless_operator.runtime import metrics
from speechless_operator.runtime.access import Access
from speechless_operator.runtime.cache import Cache, Change, Key
from speechless_operator.runtime.client import KubeClient
from speechless_operator.runtime.ears import Ears, Source
from speechless_operator.runtime.events import Recorder
from speechless_operator.runtime.health import Health, ResourceCollector
from speechless_operator.runtime.intake import Inbox, Intake
from speechless_operator.runtime.leadership import Leadership
from speechless_operator.runtime.lease import RENEW_WITHIN, LeaseLostError
from speechless_operator.runtime.progress import Poller
from speechless_operator.runtime.queue import WorkQueue
from speechless_operator.runtime.reconciler import Reconciler, run_workers
from speechless_operator.runtime.resources import OURS
from speechless_operator.runtime.resync import Resync
from speechless_operator.runtime.start import StartError, check_kinds, compare_schemas
from speechless_operator.runtime.supervise import supervised
from speechless_operator.runtime.wake import concerned

LEASE_NAME = "speechless-operator"
_DRAIN_SECONDS = 10.0
_LAST_EVENTS_SECONDS = 2.0
_END_SECONDS = 20.0
"""After the order to stop the process is gone by then, whatever hangs: less than a pod's grace of 30 s."""
_STUCK_SECONDS = 30.0
_log = logging.getLogger(__name__)


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
    qps: float = 0
    """Requests a second to the API server; 0: as many as it takes."""
    burst: int = 200
    kopf: bool = False
    """Whether kopf watches the four kinds; otherwise a reflector does."""


class Operator:
    """One replica."""

    def __init__(self, access: Access, options: Options) -> None:
        """Make the parts; nothing runs yet."""
        self._access, self._options = access, options
        self._cache = Cache()
        self._queue: WorkQueue[Key] = WorkQueue(lambda key: key[1])
        self._stop, self._synced = asyncio.Event(), asyncio.Event()
        self._started = False
        self._ticked = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self._client = KubeClient(access, qps=options.qps, burst=options.burst)
        self._intake = Intake(self._cache, self._changed)
        inbox = Inbox(self._loop, self._take)
        self._source: Source | None = None
        if options.kopf:
            # Imported here: it takes half a second and 20 MiB, and nothing else needs it.
            from speechless_operator.runtime.source import KopfSource

            self._source = KopfSource(access, inbox.put, options.namespaces)
        self._ears = Ears(self._client, self._intake, options.namespaces, self._source)
        self._resync = Resync(self._client, self._intake, self._ears, seconds=options.resync_seconds)
        self._recorder = Recorder(self._client, options.identity)
        self._poller: Poller | None = None
        self._leadership = Leadership(
            # Nothing that the work asks for may stand before the Lease's renewal: other connections, no limit.
            lambda: KubeClient(access, timeout=RENEW_WITHIN / 2, connections=4),
            namespace=options.lease_namespace,
            name=options.lease_name,
            identity=options.identity,
            turns=self._turns,
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
            self._loop.add_signal_handler(number, self._ordered_to_stop)
        collector = ResourceCollector(self._cache.tally, lambda: self._leadership.leading)
        metrics.REGISTRY.register(collector)
        try:
            await self._listen()
            if await self._start():
                await self._until_stopped()
        finally:
            metrics.REGISTRY.unregister(collector)
            self._queue.close()
            await self._health.stop()
            if self._source is not None:
                self._source.stop()
            await self._leadership.release()
            await self._client.close()

    async def _start(self) -> bool:
        """Wait for the API server; whether it came before the order to stop."""
        check = asyncio.create_task(check_kinds(self._client, self._access.server))
        stop = asyncio.create_task(self._stop.wait())
        done, _ = await asyncio.wait([check, stop], return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if check not in done:
            check.cancel()
            return False
        check.result()
        self._started = True
        return True

    async def _until_stopped(self) -> None:
        """Run all parts. Each is started again when it fails; the Lease alone, once lost, ends all of them."""
        if self._source is not None:
            self._source.start()
        beside = [
            asyncio.create_task(supervised("tick", self._tick)),
            asyncio.create_task(supervised("ears", self._ears.run)),
            asyncio.create_task(supervised("sync", self._wait_synced)),
            asyncio.create_task(supervised("resync", self._resync.run)),
            asyncio.create_task(supervised("schemas", lambda: compare_schemas(self._client))),
        ]
        lead = asyncio.create_task(supervised("lead", self._lead, fatal=(LeaseLostError,)))
        stop = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait([lead, stop], return_when=asyncio.FIRST_COMPLETED)
            self._queue.close()
            if self._leadership.leading and not lead.done():
                _log.info("stopping: finishing what is under way")
                await asyncio.wait([lead], timeout=_DRAIN_SECONDS)
        finally:
            for task in (*beside, lead, stop):
                task.cancel()
            ends = await asyncio.gather(lead, *beside, stop, return_exceptions=True)
        if isinstance(ends[0], Exception):
            raise ends[0]

    async def _lead(self) -> None:
        """Wait for the Lease, then work. Everything that writes is in here. Returns when the queue is closed."""
        await self._synced.wait()
        if self._options.leader_elect:
            await self._leadership.acquire()
        else:
            self._leadership.leading = True
            metrics.LEADER.set(1)
        keys = self._cache.keys(OURS)
        for key in keys:
            self._queue.add(key, changed=False)
        reconciler = Reconciler(
            self._client,
            self._cache,
            self._queue,
            self._options.settings,
            keep=self._intake.keep,
            made=self._intake.made,
            recorder=self._recorder,
        )
        reconciler.begin(keys)
        self._poller = Poller(
            self._client, self._cache, keep=self._intake.keep, proxy=self._options.progress_by_proxy
        )
        beside = [
            asyncio.create_task(supervised("progress", self._poller.run)),
            asyncio.create_task(supervised("events", self._recorder.run)),
        ]
        work = asyncio.create_task(
            supervised("workers", lambda: run_workers(reconciler, self._options.workers))
        )
        lease = asyncio.create_task(self._leadership.keep())
        try:
            done, _ = await asyncio.wait([work, lease], return_when=asyncio.FIRST_COMPLETED)
            if work in done:
                await self._recorder.flush(_LAST_EVENTS_SECONDS)
            for task in done:
                task.result()
        finally:
            for task in (*beside, work, lease):
                task.cancel()
            await asyncio.gather(*beside, work, lease, return_exceptions=True)

    async def _listen(self) -> None:
        try:
            await self._health.start()
        except OSError as error:
            raise StartError(f"--listen {self._options.listen}: {error.strerror or error}") from error

    def _ordered_to_stop(self) -> None:
        self._stop.set()
        # A thread that hangs (a library's, or the disk's) would keep the process until SIGKILL.
        end = threading.Timer(_END_SECONDS, _end)
        end.daemon = True
        end.start()

    # -- what is heard ---------------------------------------------------------------------------------------------

    def _take(self, kind: str | None, obj: Object) -> None:
        metrics.EVENTS_SEEN.labels(metrics.kind_label(obj["kind"])).inc()
        self._intake.take(kind, obj)

    def _changed(self, change: Change) -> None:
        if self._leadership.leading:  # a standby only remembers; a new leader looks at everything
            for key in concerned(change, self._cache):
                self._queue.add(key)
        if self._poller is not None and (change.new or change.old or {}).get("kind") == "Pod":
            self._poller.saw(change)

    async def _wait_synced(self) -> None:
        while self._ears.missing():
            await asyncio.sleep(0.02)
        self._synced.set()
        metrics.LAST_RESYNC.set(time.time())

    # -- how it is -------------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        while True:
            self._ticked = time.monotonic()
            await asyncio.sleep(1)

    def _turns(self) -> bool:
        return time.monotonic() - self._ticked <= _STUCK_SECONDS

    def _not_live(self) -> list[str]:
        """What only a restart mends. An API server that is away is not in here: all replicas would restart for it."""
        found = []
        if self._started and not self._turns():
            found.append("the main loop is stuck")
        if self._started and self._source is not None and self._source.silent_seconds() > _STUCK_SECONDS:
            found.append("the thread that listens is stuck or dead")
        if self._resync.missed_in_a_row > 1:
            found.append("the watches miss changes, also after a restart of theirs")
        return found

    def _not_ready(self) -> list[str]:
        if not self._started:
            return [f"the API server at {self._access.server} does not serve our kinds yet"]
        return [] if self._synced.is_set() else ["the cache is not filled yet", *self._ears.missing()]

    def _gauges(self) -> None:
        metrics.QUEUE_DEPTH.set(len(self._queue))
        metrics.QUEUE_AGE.set(self._queue.oldest_seconds())
        metrics.EVENTS_WAITING.set(len(self._recorder))


def _end() -> None:
    _log.error("something still hangs %.0f s after the order to stop: ended without it", _END_SECONDS)
    os._exit(1)


__all__ = ["LeaseLostError", "Operator", "Options", "StartError"]
