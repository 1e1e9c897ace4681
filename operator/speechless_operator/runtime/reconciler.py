"""One frame for all kinds: observe, plan, act. Runs on the leader only, one resource at a time in each worker."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from speechless_operator.desired.objects import Object
from speechless_operator.desired.settings import Settings
from speechless_operator.plan import At, Observed, Plan, Trouble, minimal, plan, references
from speechless_operator.runtime import metrics
from speechless_operator.runtime.act import Actor, StaleError
from speechless_operator.runtime.cache import Cache, Key
from speechless_operator.runtime.client import ApiError, KubeClient
from speechless_operator.runtime.events import Recorder
from speechless_operator.runtime.look import Looker
from speechless_operator.runtime.queue import WorkQueue

_log = logging.getLogger(__name__)
_ROUNDS = 6
"""A plan may ask for a log, see it, and ask for another one's, or for a look at the API server."""
_MAX_REFERENCES = 32
"""Resources that are looked at one behind the other, to see whether they lead back."""
_MAX_NAMES = 65_536

Planner = Callable[[Observed, datetime], Plan]


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
        made: Callable[[Object], None],
        recorder: Recorder,
        planner: Planner = plan,
    ) -> None:
        """Work on `queue`'s keys with what `cache` knows; `keep` is handed what was written, `made` new children."""
        self._cache, self._queue, self._settings, self._planner = cache, queue, settings, planner
        self._actor = Actor(client, keep, made, recorder)
        self._looker = Looker(client)
        self._troubles: dict[Key, tuple[Trouble, ...]] = {}
        # The names that were here when this process began to lead, and the uid that each name had last: of those,
        # something of an earlier resource may still be about.
        self._seen: OrderedDict[Key, str] = OrderedDict()

    def begin(self, keys: Iterable[Key]) -> None:
        """These resources were there before: what became of their names before that is not known."""
        for key in keys:
            self._seen[key] = ""

    async def work(self) -> None:
        """Take keys until the queue is closed."""
        while (key := await self._queue.get()) is not None:
            try:
                await self._one(key)
            finally:
                self._queue.done(key)

    async def _one(self, key: Key) -> None:
        began = time.monotonic()
        obj = self._cache.get(key)
        if obj is None:
            self._troubles.pop(key, None)
            self._queue.forget(key)
            return
        try:
            again, troubles = await self._reconcile(key, obj)
        except StaleError as error:
            _log.debug("%s %s/%s: %s", *key, error)
            self._queue.retry(key)
            self._count(key, "conflict", began)
            return
        except ApiError as error:  # while something was looked at: what is not known is not acted on
            result = "error"
            again, troubles = None, await self._unread(key, obj, error)
        except Exception as error:  # noqa: BLE001 - one resource's trouble must not stop the others: it is told on it
            _log.exception("%s %s/%s: a defect of the operator", *key)
            again, result = None, "defect"
            troubles = await self._defect(key, obj, error)
        else:
            result = _result(troubles)
        if troubles:
            self._troubles[key] = troubles
            seconds = self._queue.retry(key)
            first = troubles[0]
            what = (first.at.value, first.kind, first.name, first.code or "no answer", first.message)
            _log.warning("%s %s/%s: %s %s %s: %s %s; again in %.1f s", *key, *what, seconds)
        else:
            self._troubles.pop(key, None)
            self._queue.forget(key)
            if again is not None:
                self._queue.add_after(key, again)
        self._count(key, result, began)

    @staticmethod
    def _count(key: Key, result: str, began: float) -> None:
        kind = metrics.kind_label(key[0])
        metrics.RECONCILES.labels(kind, result).inc()
        metrics.RECONCILE_SECONDS.labels(kind).observe(time.monotonic() - began)

    async def _reconcile(self, key: Key, obj: Object) -> tuple[float | None, tuple[Trouble, ...]]:
        """One round; what went wrong in it is told on the resource in the same round, and once it is over, too."""
        before = self._troubles.get(key, ())
        observed = self._observe(key, obj, before)
        decided, observed = await self._plan(observed)
        obj, found = await self._actor.act(observed, decided)
        troubles = _counted(before, found)
        if _told(troubles) != _told(before):
            decided = await self._tell(replace(observed, obj=obj, troubles=troubles), troubles)
        return decided.requeue_after, troubles

    async def _tell(self, observed: Observed, troubles: tuple[Trouble, ...]) -> Plan:
        """Plan again with what went wrong, and write what that says; nothing new is begun."""
        if any(trouble.at is At.STATUS for trouble in troubles):
            decided = Plan(status=minimal(observed, datetime.now(UTC)))
        else:
            decided, observed = await self._plan(observed)
        _, more = await self._actor.tell(observed, decided)
        if not more and troubles:
            await self._actor.delete(observed, decided)
        for trouble in more:
            _log.warning("%s %s cannot be told: %s", trouble.kind, trouble.name, trouble.message)
        return decided

    async def _unread(self, key: Key, obj: Object, error: ApiError) -> tuple[Trouble, ...]:
        trouble = Trouble(At.READ, key[0], key[2], error.code, str(error))
        return await self._tell_alone(key, obj, trouble)

    async def _defect(self, key: Key, obj: Object, error: Exception) -> tuple[Trouble, ...]:
        said = f"{type(error).__name__}: {error}"[:500]
        return await self._tell_alone(key, obj, Trouble(At.DEFECT, key[0], key[2], 0, said))

    async def _tell_alone(self, key: Key, obj: Object, trouble: Trouble) -> tuple[Trouble, ...]:
        """Tell what kept a plan from being made, beside all that the resource's status said before."""
        troubles = _counted(self._troubles.get(key, ()), [trouble])
        observed = Observed(obj=self._cache.get(key) or obj, troubles=troubles, settings=self._settings)
        try:
            await self._actor.tell(observed, Plan(status=minimal(observed, datetime.now(UTC))))
        except Exception:  # noqa: BLE001 - it is logged, and tried again with the resource's next round
            _log.exception("%s %s/%s: what went wrong could not be told", *key)
        return troubles

    def _observe(self, key: Key, obj: Object, troubles: tuple[Trouble, ...]) -> Observed:
        uid = obj["metadata"]["uid"]
        known = self._seen.setdefault(key, uid)
        self._seen.move_to_end(key)
        while len(self._seen) > _MAX_NAMES:
            self._seen.popitem(last=False)
        return Observed(
            obj=obj,
            children=self._cache.children(uid),
            references=self._references(key[1], obj),
            troubles=troubles,
            fresh=known == uid,
            settings=self._settings,
        )

    def _references(self, namespace: str, obj: Object) -> dict[tuple[str, str], Object]:
        """What a resource names, what that names, and so on."""
        found: dict[tuple[str, str], Object] = {}
        ahead = sorted(references(obj))
        while ahead and len(found) < _MAX_REFERENCES:
            named = ahead.pop(0)
            other = self._cache.get((named[0], namespace, named[1]))
            if other is not None and named not in found:
                found[named] = other
                ahead += sorted(references(other))
        return found

    async def _plan(self, observed: Observed) -> tuple[Plan, Observed]:
        """Plan; where a plan wants to read something first, read it and plan again."""
        for _ in range(_ROUNDS):
            decided = self._planner(observed, datetime.now(UTC))
            if decided.logs:
                read = {pod: await self._looker.log(observed, pod) for pod in decided.logs}
                observed = replace(observed, logs={**observed.logs, **read})
            elif decided.look is not None:
                observed = replace(observed, live=await self._looker.look(observed, decided.look))
            else:
                return decided, observed
        raise RuntimeError(f"a plan that is never final: it asks for {decided.logs or decided.look}")


def _counted(before: tuple[Trouble, ...], found: list[Trouble]) -> tuple[Trouble, ...]:
    """The troubles, each with how often it came in a row."""
    known = {(t.at, t.kind, t.name): t.times for t in before}
    return tuple(replace(t, times=t.times + known.get((t.at, t.kind, t.name), 0)) for t in found)


def _told(troubles: tuple[Trouble, ...]) -> list[tuple[object, ...]]:
    """What of troubles a status shows."""
    return [(t.at, t.kind, t.name, t.code, t.message, t.final or t.times > 1) for t in troubles]


def _result(troubles: Sequence[Trouble]) -> str:
    if not troubles:
        return "ok"
    return "refused" if troubles[0].final else "error"


async def run_workers(reconciler: Reconciler, number: int) -> None:
    """Run workers until the queue is closed and each has finished what it had."""
    async with asyncio.TaskGroup() as group:
        for _ in range(number):
            group.create_task(reconciler.work())
