"""Lists everything now and then and compares: finds what the watches missed, and whether they are alive."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from speechless_operator.desired.objects import Object
from speechless_operator.runtime import metrics
from speechless_operator.runtime.cache import Cache, Change, key_of, newer, version
from speechless_operator.runtime.client import ApiError, KubeClient
from speechless_operator.runtime.resources import WATCHED

GRACE_SECONDS = 3.0
"""What a list shows, a watch shows at about the same time: a difference counts as missed only after this time."""
_RETRY_SECONDS = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Listed:
    """All objects of a kind by uid, and of which version the lists were."""

    objects: dict[str, Object]
    versions: dict[str | None, int]

    def version_of(self, obj: Object) -> int:
        """Of the list that the object would be in."""
        return self.versions.get(obj["metadata"]["namespace"], self.versions.get(None, 0))


class Resync:
    """Keeps the cache true though a watch may lie."""

    def __init__(
        self,
        client: KubeClient,
        cache: Cache,
        *,
        namespaces: Sequence[str],
        seconds: float,
        changed: Callable[[Change], None],
        deaf: Callable[[], None],
    ) -> None:
        """`changed` is told of every difference, `deaf` when the watches missed some."""
        self._client, self._cache = client, cache
        self._namespaces = tuple(namespaces) or (None,)
        self._seconds, self._changed, self._deaf = seconds, changed, deaf
        self.synced = False
        self.missed_in_a_row = 0

    async def run(self) -> None:
        """First at once, then every so often; a failed round is tried again soon."""
        while True:
            try:
                await self.once()
                delay = self._seconds * random.uniform(0.9, 1.1)
            except ApiError as error:
                _log.warning("resync: %s", error)
                delay = _RETRY_SECONDS
            await asyncio.sleep(delay)

    async def once(self) -> int:
        """One round; return how many changes the watches had missed."""
        listed = await self._list()
        if not self.synced:
            self._take(listed)
            self.synced = True
            metrics.LAST_RESYNC.set(time.time())
            return 0
        suspects = self._differences(listed)
        if suspects:
            await asyncio.sleep(GRACE_SECONDS)
            suspects = [obj for obj in suspects if self._differs(obj, listed)]
        for obj in suspects:
            self._settle(obj, listed)
        metrics.LAST_RESYNC.set(time.time())
        if suspects:
            names = ", ".join("/".join(key_of(obj)) for obj in suspects[:5])
            _log.warning(
                "resync: the watches missed %d changes (%s ...): they are started again", len(suspects), names
            )
            metrics.MISSED.inc(len(suspects))
            self.missed_in_a_row += 1
            self._deaf()
        else:
            self.missed_in_a_row = 0
        return len(suspects)

    async def _list(self) -> dict[str, _Listed]:
        """Every kind, one after the other."""
        found: dict[str, _Listed] = {}
        for kind, resource in WATCHED.items():
            listed = _Listed({}, {})
            for space in self._namespaces:
                objects, listed.versions[space] = await self._client.list(resource, space)
                listed.objects.update({obj["metadata"]["uid"]: obj for obj in objects})
            found[kind] = listed
        return found

    def _take(self, listed: dict[str, _Listed]) -> None:
        for kind in listed.values():
            for obj in kind.objects.values():
                self._tell(self._cache.put(obj))

    def _differences(self, listed: dict[str, _Listed]) -> list[Object]:
        fresh = [obj for kind in listed.values() for obj in kind.objects.values()]
        known = [obj for kind in WATCHED for obj in self._cache.of_kind(kind)]
        return [obj for obj in (*fresh, *known) if self._differs(obj, listed)]

    def _differs(self, obj: Object, listed: dict[str, _Listed]) -> bool:
        """Whether the cache still lags behind the list in this object."""
        kind, uid = obj["kind"], obj["metadata"]["uid"]
        known = self._cache.get(key_of(obj))
        found = listed[kind].objects.get(uid)
        if found is not None:
            return obj is found and (known is None or newer(obj, known)) and not self._cache.is_dead(uid)
        # Not in the list: gone, unless it was made after the list was taken.
        return known is obj and version(obj) <= listed[kind].version_of(obj)

    def _settle(self, obj: Object, listed: dict[str, _Listed]) -> None:
        gone = obj["metadata"]["uid"] not in listed[obj["kind"]].objects
        self._tell(self._cache.remove(obj) if gone else self._cache.put(obj))

    def _tell(self, change: Change | None) -> None:
        if change is not None:
            self._changed(change)
