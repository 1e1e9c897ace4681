"""A watch of our own on one kind: list page by page, watch from there, and after a gap list again and compare.

The pattern is client-go's reflector. The watch goes on at the version that it last saw, also by bookmarks; when the
server has forgotten that version (410) or the watch was deaf, a new list tells what came, what changed and what went.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import aclosing

from speechless_operator.desired.objects import Object
from speechless_operator.runtime import metrics
from speechless_operator.runtime.client import ApiError, KubeClient
from speechless_operator.runtime.intake import Intake
from speechless_operator.runtime.resources import Resource
from speechless_operator.runtime.supervise import Patience

SILENCE_SECONDS = 75.0
"""Bookmarks come every minute: silence for longer is a dead connection, and a new one costs little."""
WATCH_SECONDS = (300, 600)
"""How long a watch lives: between these."""
ABSENT_SECONDS = 60.0
"""Between two looks for an API that the cluster does not have."""
TOLD_EVERY = 60.0
REFUSED = frozenset({401, 403, 404})
_GONE = 410
_log = logging.getLogger(__name__)


class Reflector:
    """Keeps one kind of one namespace (None: of all) in the cache."""

    def __init__(
        self,
        client: KubeClient,
        resource: Resource,
        namespace: str | None,
        *,
        intake: Intake,
        listen: bool = True,
    ) -> None:
        """What is seen goes to `intake`. Without `listen` it only lists, once: somebody else watches."""
        self._client, self._intake, self._cache, self._listen = client, intake, intake.cache, listen
        self.resource, self.namespace = resource, namespace
        self._version = 0
        self._patience = Patience((0.5, 1, 2, 5, 10, 30))
        self._told = float("-inf")
        self._failing = True
        self._task: asyncio.Task[None] | None = None
        self.synced = False
        """Whether all that there is was seen once."""
        self.refused = False
        """Whether the last answer was that this may not be seen, or is not there."""

    @property
    def name(self) -> str:
        """As logs have it."""
        where = f"in namespace {self.namespace}" if self.namespace else "in all namespaces"
        return f"{self.resource.plural} {where}"

    @property
    def failing(self) -> bool:
        """Whether the last answer to a watch or a list was an error, and it was told."""
        return self._failing and self._told > float("-inf")

    def passed(self, version: int) -> bool:
        """Whether everything up to a version has been told, as the order of events and bookmarks shows."""
        return self._version >= version

    def relist(self) -> None:
        """Begin anew with a list: the watch was found to be deaf. (One that only lists is to be run again.)"""
        self._version = 0
        if self._task is not None:
            self._task.cancel()

    async def run(self) -> None:
        """Until cancelled, or until it has listed."""
        while self._listen or not self._version:
            self._task = asyncio.create_task(self._round())
            try:
                await asyncio.wait([self._task])
            finally:
                self._task.cancel()
            if not self._task.cancelled():
                self._task.result()

    async def _round(self) -> None:
        """List where it is needed, then watch until the watch ends; an error is told, and patience had."""
        try:
            if not self._version:
                self._version = await self._list()
                self.synced = True
                self._well()
            if self._listen:
                await self._watch()
        except ApiError as error:
            if error.code == _GONE:
                self._version = 0
                await asyncio.sleep(self._patience.next())
                return
            await asyncio.sleep(self._trouble(error))

    # -- list ---------------------------------------------------------------------------------------------------------

    async def _list(self) -> int:
        """Everything there is, page by page; what is not among it is gone. Return the list's version."""
        metrics.RELISTS.labels(self.resource.kind).inc()
        seen: set[str] = set()
        version = 0
        async for page in self._client.pages(self.resource, self.namespace):
            version = page.version
            for obj in page.items:
                seen.add(obj["metadata"]["uid"])
                self._intake.keep(obj)
            await asyncio.sleep(0)
        self._forget_others(seen, version)
        return version

    def _forget_others(self, seen: set[str], version: int) -> None:
        for key in self._cache.keys([self.resource.kind]):
            stands = self._cache.stands(key)
            here = self.namespace in (None, key[1])
            # What is newer than the list was made after it.
            if here and stands is not None and stands[0] not in seen and stands[1] <= version:
                self._intake.forget(key, stands[0], version)

    # -- watch --------------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        seconds = random.randint(*WATCH_SECONDS)
        seen = metrics.EVENTS_SEEN.labels(self.resource.kind)
        began = time.monotonic()
        async with aclosing(
            self._client.watch(
                self.resource, self.namespace, self._version, seconds=seconds, silence=SILENCE_SECONDS
            )
        ) as events:
            async for batch in events:
                self._well()
                if batch:
                    self._patience.reset()
                for kind, obj in batch:
                    self._take(kind, obj)
                seen.inc(len(batch))
        if time.monotonic() - began < 1:
            # A server that ends watches at once is not asked a hundred times a second.
            await asyncio.sleep(self._patience.next())

    def _take(self, kind: str, obj: Object) -> None:
        if kind == "ERROR":
            code = int(obj.get("code") or 0)
            raise ApiError(code, str(obj.get("message", "an error in the watch")), f"WATCH {self.name}")
        if kind != "BOOKMARK":
            self._intake.take(kind, obj)
        self._version = max(self._version, int(obj["metadata"]["resourceVersion"]))

    # -- how it goes --------------------------------------------------------------------------------------------------

    def _well(self) -> None:
        if not self._failing:
            return
        if self._told > float("-inf"):
            _log.info("%s: watched again", self.name)
        self._failing, self.refused, self._told = False, False, float("-inf")
        metrics.WATCH_FAILING.labels(self.resource.kind, self.namespace or "").set(0)

    def _trouble(self, error: ApiError) -> float:
        """Say so, once a minute at most; return how long to wait."""
        self._failing, self.refused = True, error.code in REFUSED
        if self.resource.optional and error.code == 404:
            # The cluster does not have it, or has it no more: what was known of it is gone.
            for key in self._cache.keys([self.resource.kind]):
                if self.namespace in (None, key[1]):
                    self._intake.lose(key)
            self._version = 0
            return ABSENT_SECONDS * random.uniform(0.8, 1.2)
        metrics.WATCH_FAILING.labels(self.resource.kind, self.namespace or "").set(1)
        now = time.monotonic()
        if now - self._told >= TOLD_EVERY:
            self._told = now
            _log.warning("%s cannot be watched: %s; tried again until it can be", self.name, error)
        return self._patience.next(error.retry_after)
