"""Kubernetes Events of the operator: told by the way, never waited for; the same again is counted."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime

from speechless_operator.desired.objects import MANAGER, Object, short_hash
from speechless_operator.plan import Event
from speechless_operator.plan.conditions import now_text
from speechless_operator.runtime import metrics
from speechless_operator.runtime.client import ApiError, KubeClient
from speechless_operator.runtime.limiter import Lane
from speechless_operator.runtime.resources import CHILDREN
from speechless_operator.runtime.supervise import Patience

MAX_WAITING = 5_000
MAX_OF_A_NAMESPACE = 2_500
"""So that one namespace's noise does not drop what another is told."""
SENDERS = 4
"""Requests at once: the rest of the client's connections are for the work itself."""
_TRIES = 5
_EVENT = CHILDREN["Event"]
_MESSAGE_LIMIT = 1024
_log = logging.getLogger(__name__)


@dataclass
class _Waiting:
    """An Event that is to be written."""

    body: Object
    tries: int = 0


class Recorder:
    """Takes Events at once and writes them when it can."""

    def __init__(self, client: KubeClient, identity: str) -> None:
        """`identity` is this replica's name."""
        self._client, self._identity = client, identity
        self._waiting: OrderedDict[tuple[str, str], _Waiting] = OrderedDict()
        self._of: Counter[str] = Counter()
        self._came = asyncio.Event()
        self._patience = Patience()
        self._busy = 0

    def __len__(self) -> int:
        return len(self._waiting) + self._busy

    def tell(self, about: Object, event: Event) -> None:
        """Log it, and have it written. When too many wait it is only logged, and counted."""
        meta = about["metadata"]
        _log.log(
            logging.WARNING if event.warning else logging.INFO,
            "%s %s/%s: %s: %s",
            about["kind"], meta["namespace"], meta["name"], event.reason, event.message,
        )  # fmt: skip
        made = _event(about, event, self._identity)
        key = (meta["namespace"], made["metadata"]["name"])
        if key in self._waiting:
            known = self._waiting[key].body
            known["count"] += 1
            known["lastTimestamp"] = made["lastTimestamp"]
            return
        if len(self._waiting) >= MAX_WAITING or self._of[key[0]] >= MAX_OF_A_NAMESPACE:
            metrics.EVENTS_DROPPED.labels("full").inc()
            return
        self._put(key, _Waiting(made))

    async def run(self) -> None:
        """Write what waits, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(SENDERS):
                group.create_task(self._send())

    async def flush(self, seconds: float) -> None:
        """Wait until everything is written, but not longer than this."""
        end = asyncio.get_running_loop().time() + seconds
        while len(self) and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.05)

    def _put(self, key: tuple[str, str], waiting: _Waiting) -> None:
        self._waiting[key] = waiting
        self._of[key[0]] += 1
        self._came.set()

    async def _send(self) -> None:
        while True:
            while not self._waiting:
                self._came.clear()
                await self._came.wait()
            key, waiting = self._waiting.popitem(last=False)
            self._of[key[0]] -= 1
            if not self._of[key[0]]:
                del self._of[key[0]]
            self._busy += 1
            try:
                await self._write(key, waiting)
            finally:
                self._busy -= 1

    async def _write(self, key: tuple[str, str], waiting: _Waiting) -> None:
        namespace, name = key
        try:
            try:
                await self._client.create(_EVENT, namespace, waiting.body, lane=Lane.EVENTS)
            except ApiError as error:
                if error.code != 409:
                    raise
                known = await self._client.get(_EVENT, namespace, name)
                body = {
                    "count": known.get("count", 1) + waiting.body["count"],
                    "lastTimestamp": waiting.body["lastTimestamp"],
                }
                await self._client.patch(_EVENT, namespace, name, body, lane=Lane.EVENTS)
        except ApiError as error:
            await self._failed(key, waiting, error)
        else:
            self._patience.reset()

    async def _failed(self, key: tuple[str, str], waiting: _Waiting, error: ApiError) -> None:
        waiting.tries += 1
        passing = error.code in (0, 404, 429) or error.code >= 500
        if passing and waiting.tries < _TRIES and key not in self._waiting:
            self._put(key, waiting)
            await asyncio.sleep(self._patience.next(error.retry_after))
            return
        metrics.EVENTS_DROPPED.labels("refused").inc()
        _log.warning("Event %s in %s was not written: %s", waiting.body["reason"], key[0], error)


def _event(about: Object, event: Event, identity: str) -> Object:
    meta = about["metadata"]
    now = now_text(datetime.now(UTC))
    # The name is a function of what is said: said twice, also by two replicas, it is one Event.
    name = f"{meta['name']}.{short_hash(meta['uid'], event.reason, event.message)}"
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": meta["namespace"]},
        "involvedObject": {
            "apiVersion": about["apiVersion"],
            "kind": about["kind"],
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"],
        },
        "reason": event.reason,
        "message": event.message[:_MESSAGE_LIMIT],
        "type": "Warning" if event.warning else "Normal",
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "source": {"component": MANAGER},
        "reportingComponent": MANAGER,
        "reportingInstance": identity[:128],
    }
