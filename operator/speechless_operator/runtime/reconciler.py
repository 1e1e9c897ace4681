"""One frame for all kinds: observe, plan, act. Runs on the leader only, one resource at a time in each worker."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from speechless_operator.desired.objects import Object
from speechless_operator.desired.pod import CONTAINER
from speechless_operator.desired.settings import Settings
from speechless_operator.plan import Observed, Plan, plan, references
from speechless_operator.plan.diagnosis import LOG_LINES, container_status
from speechless_operator.runtime import metrics
from speechless_operator.runtime.act import Actor
from speechless_operator.runtime.cache import Cache, Key
from speechless_operator.runtime.client import ApiError, KubeClient
from speechless_operator.runtime.queue import WorkQueue

_log = logging.getLogger(__name__)
_MAX_LOGS = 256
_ROUNDS = 3
"""A plan may ask for a log, see it, and ask for another one's."""


class Reconciler:
    """Makes the cluster what the resources say."""

    def __init__(
        self,
        client: KubeClient,
        cache: Cache,
        queue: WorkQueue[Key],
        settings: Settings,
        *,
        keep: Callable[[Object], None],
        identity: str,
    ) -> None:
        """Work on `queue`'s keys with what `cache` knows; `keep` is handed what was written."""
        self._client, self._cache, self._queue, self._settings = client, cache, queue, settings
        self._actor = Actor(client, keep, identity)
        self._logs: OrderedDict[tuple[str, int], str] = OrderedDict()

    async def work(self) -> None:
        """Take keys until the queue is closed."""
        while (key := await self._queue.get()) is not None:
            try:
                await self._one(key)
            finally:
                self._queue.done(key)

    async def _one(self, key: Key) -> None:
        began = time.monotonic()
        try:
            again = await self._reconcile(key)
        except ApiError as error:
            # A conflict is the ordinary end of a race; the newer object is on its way.
            level = logging.DEBUG if error.code == 409 else logging.WARNING
            seconds = self._queue.retry(key)
            _log.log(level, "%s %s/%s: %s; again in %.1f s", *key, error, seconds)
            result = "conflict" if error.code == 409 else "error"
        except Exception:  # noqa: BLE001 - one resource's trouble must not stop the others; it is logged and counted
            seconds = self._queue.retry(key)
            _log.exception("%s %s/%s: a defect of the operator; again in %.1f s", *key, seconds)
            result = "defect"
        else:
            result = "ok" if again is not _REFUSED else "refused"
            if again is _REFUSED:
                self._queue.retry(key)
            else:
                self._queue.forget(key)
                if again is not None:
                    self._queue.add_after(key, again)
        metrics.RECONCILES.labels(key[0], result).inc()
        metrics.RECONCILE_SECONDS.labels(key[0]).observe(time.monotonic() - began)

    async def _reconcile(self, key: Key) -> float | None:
        obj = self._cache.get(key)
        if obj is None:
            return None
        observed = self._observe(obj)
        decided, observed = await self._plan(observed)
        refused = await self._actor.children(observed, decided)
        if refused:
            decided = plan(replace(observed, refused=refused), datetime.now(UTC))
        await self._actor.told(obj, decided)
        return _REFUSED if refused else decided.requeue_after

    def _observe(self, obj: Object) -> Observed:
        namespace = obj["metadata"]["namespace"]
        found = {named: self._cache.get((named[0], namespace, named[1])) for named in references(obj)}
        return Observed(
            obj=obj,
            children=self._cache.children(obj["metadata"]["uid"]),
            references={named: other for named, other in found.items() if other is not None},
            settings=self._settings,
        )

    async def _plan(self, observed: Observed) -> tuple[Plan, Observed]:
        """Plan; where a plan wants logs, read them and plan again."""
        decided = plan(observed, datetime.now(UTC))
        for _ in range(_ROUNDS):
            if not decided.logs:
                break
            read = {pod: await self._log(observed, pod) for pod in decided.logs}
            observed = replace(observed, logs={**observed.logs, **read})
            decided = plan(observed, datetime.now(UTC))
        return decided, observed

    async def _log(self, observed: Observed, name: str) -> str:
        """The end of a pod's log; empty where there is none: a diagnosis without it is better than none."""
        pod = observed.named("Pod", name)
        if pod is None:
            return ""
        status = container_status(pod)
        known = (pod["metadata"]["uid"], status.get("restartCount", 0))
        if known in self._logs:
            return self._logs[known]
        previous = "terminated" not in status.get("state", {}) and status.get("restartCount", 0) > 0
        try:
            text = await self._client.log(
                observed.owner.namespace, name, CONTAINER, previous=previous, lines=LOG_LINES
            )
        except ApiError as error:
            _log.info("log of pod %s/%s: %s", observed.owner.namespace, name, error)
            return ""
        self._logs[known] = text
        while len(self._logs) > _MAX_LOGS:
            self._logs.popitem(last=False)
        return text


_REFUSED = float("inf")


async def run_workers(reconciler: Reconciler, number: int) -> None:
    """Run workers until the queue is closed and each has finished what it had."""
    async with asyncio.TaskGroup() as group:
        for _ in range(number):
            group.create_task(reconciler.work())
