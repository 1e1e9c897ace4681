"""Lists versions now and then and compares: finds what the watches missed, and whether they are alive.

Only metadata is listed, a page at a time, so a round costs the same whatever the objects hold. A difference counts as
missed only when the watch has told what is newer and still lacks it: a watch that is late is not deaf.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic

from speechless_operator.desired.objects import Object
from speechless_operator.runtime import metrics
from speechless_operator.runtime.cache import Cache, Key, belongs, key_of
from speechless_operator.runtime.client import ApiError, KubeClient
from speechless_operator.runtime.ears import Ears
from speechless_operator.runtime.intake import Intake
from speechless_operator.runtime.reflector import REFUSED, Reflector
from speechless_operator.runtime.resources import OURS

GRACE_SECONDS = 1.0
"""What a list shows, a watch shows at about the same time."""
PATIENCE_SECONDS = 150.0
"""A watch that has not come as far as the list after this time, with a bookmark every minute, is deaf."""
FETCH_AT_MOST = 200
"""Missed objects that are read one by one; of more of a kind, the kind is listed again."""
_RETRY_SECONDS = 5.0
_LOOK_SECONDS = 1.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Suspect:
    """An object in which the cache differed from a list."""

    key: Key
    uid: str
    version: int
    """Of the object; of the list, if the object is not in it."""
    gone: bool
    listed: int
    """Version of the list."""
    reflector: Reflector


class Resync:
    """Keeps the cache true though a watch may lie."""

    def __init__(self, client: KubeClient, intake: Intake, ears: Ears, *, seconds: float) -> None:
        """Every `seconds`, give or take a tenth."""
        self._client, self._intake, self._ears, self._seconds = client, intake, ears, seconds
        self._cache: Cache = intake.cache
        self.missed_in_a_row = 0

    async def run(self) -> None:
        """Every so often; a failed round is tried again soon."""
        delay = self._seconds
        while True:
            await asyncio.sleep(delay * random.uniform(0.9, 1.1))
            try:
                await self.once()
                delay = self._seconds
            except ApiError as error:
                _log.warning("resync: %s", error)
                delay = max(_RETRY_SECONDS, error.retry_after)

    async def once(self) -> int:
        """One round; return how many changes the watches had missed.

        Raises:
            ApiError: Nothing at all could be listed.
        """
        suspects: list[_Suspect] = []
        compared, trouble = 0, None
        for reflector in self._compared():
            try:
                suspects += await self._compare(reflector)
                compared += 1
            except ApiError as error:
                # One namespace that is gone, or a kind that is not served for a while, leaves the others as they are.
                trouble = error
                _log.log(logging.INFO if error.code in REFUSED else logging.WARNING, "resync: %s", error)
        if trouble is not None and not compared:
            raise trouble
        missed = await self._missed(suspects) if suspects else []
        if missed:
            await self._settle(missed)
            # A watch that fails and says so is no deaf one: no restart of this process mends it.
            self.missed_in_a_row += any(not suspect.reflector.failing for suspect in missed)
        else:
            self.missed_in_a_row = 0
        metrics.LAST_RESYNC.set(time.time())
        return len(missed)

    def _compared(self) -> list[Reflector]:
        """What is compared. An Event's metadata does not say what it is about."""
        every = [found for kind, found in self._ears.reflectors.items() if kind != "Event"]
        return [
            reflector for found in every for reflector in found if reflector.synced and not reflector.refused
        ]

    # -- what differs -------------------------------------------------------------------------------------------------

    async def _compare(self, reflector: Reflector) -> list[_Suspect]:
        found: list[_Suspect] = []
        seen: set[str] = set()
        listed = 0
        pages = self._client.pages(reflector.resource, reflector.namespace, metadata_only=True)
        async for page in pages:
            listed = page.version
            for item in page.items:
                key, meta = key_of(item), item["metadata"]
                seen.add(meta["uid"])
                version = int(meta["resourceVersion"])
                if self._ours(item) and not self._known(key, meta["uid"], version):
                    found.append(_Suspect(key, meta["uid"], version, False, listed, reflector))
            await asyncio.sleep(0)
        return found + list(self._ghosts(reflector, seen, listed))

    def _ours(self, item: Object) -> bool:
        """What belongs to nobody that is known, or was too much, is not kept in the cache, and so not missed."""
        kept = belongs(item) and self._cache.root(item) is not None and not self._cache.is_crowded(item)
        return item["kind"] in OURS or kept

    def _known(self, key: Key, uid: str, version: int) -> bool:
        stands = self._cache.stands(key)
        if stands is not None and (stands[0] == uid or stands[1] > version):
            return stands[1] >= version
        return self._cache.ended_at(uid) >= version

    def _ghosts(self, reflector: Reflector, seen: set[str], listed: int) -> Iterator[_Suspect]:
        for key in self._cache.keys([reflector.resource.kind]):
            stands = self._cache.stands(key)
            here = reflector.namespace in (None, key[1])
            # What is newer than the list was made after it.
            if here and stands is not None and stands[0] not in seen and stands[1] <= listed:
                yield _Suspect(key, stands[0], listed, True, listed, reflector)

    def _lacks(self, suspect: _Suspect) -> bool:
        """Whether the cache still differs."""
        if not suspect.gone:
            return not self._known(suspect.key, suspect.uid, suspect.version)
        stands = self._cache.stands(suspect.key)
        return stands is not None and stands[0] == suspect.uid and stands[1] <= suspect.listed

    async def _missed(self, suspects: list[_Suspect]) -> list[_Suspect]:
        """Those that the watches have passed without telling of them."""
        missed: list[_Suspect] = []
        end = monotonic() + PATIENCE_SECONDS
        await asyncio.sleep(GRACE_SECONDS)
        while suspects := [suspect for suspect in suspects if self._lacks(suspect)]:
            late = monotonic() >= end
            waiting: list[_Suspect] = []
            for suspect in suspects:
                passed = late or self._ears.passed(suspect.reflector, suspect.listed)
                (missed if passed else waiting).append(suspect)
            suspects = waiting
            if suspects:
                await asyncio.sleep(_LOOK_SECONDS)
        return missed

    # -- what is done about it ----------------------------------------------------------------------------------------

    async def _settle(self, missed: list[_Suspect]) -> None:
        kinds = Counter(suspect.key[0] for suspect in missed)
        names = ", ".join("/".join(suspect.key) for suspect in missed[:5])
        _log.warning(
            "resync: the watches missed %d changes (%s ...): they are started again", len(missed), names
        )
        metrics.MISSED.inc(len(missed))
        for suspect in missed:
            if kinds[suspect.key[0]] <= FETCH_AT_MOST:
                await self._fetch(suspect)
        self._ears.restart(set(kinds))

    async def _fetch(self, suspect: _Suspect) -> None:
        _, namespace, name = suspect.key
        try:
            self._intake.keep(await self._client.get(suspect.reflector.resource, namespace or None, name))
        except ApiError as error:
            if error.code != 404:
                raise
            self._intake.forget(suspect.key, suspect.uid, suspect.version)
