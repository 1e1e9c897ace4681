"""The way into the cache: what is heard, listed, or written by ourselves comes through here, one object at a time.

An object that the operator cannot take, whatever is odd about it, is logged and counted, and the next one is taken.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from speechless_operator.desired.objects import Object
from speechless_operator.runtime import metrics
from speechless_operator.runtime.cache import Cache, Change, Key

_AT_ONCE = 500
_QUIET = frozenset({"ConfigMap", "Job"})
"""Kinds after whose making there is nothing to be done until they change."""
_log = logging.getLogger(__name__)


class Intake:
    """Puts objects into a cache and tells of every change, once."""

    def __init__(self, cache: Cache, changed: Callable[[Change], None]) -> None:
        """`changed` is told of every difference."""
        self.cache, self._changed = cache, changed

    def take(self, kind: str | None, obj: Object) -> None:
        """A watch's event: its type (None: listed) and its object."""
        self._try(self.cache.remove if kind == "DELETED" else self.cache.put, obj)

    def keep(self, obj: Object) -> None:
        """Seen, or written by ourselves."""
        self._try(self.cache.put, obj)

    def made(self, obj: Object) -> None:
        """A child that we have just made: its maker knows of it, and nothing has happened to it yet.

        One that was there before may have gone on meanwhile: its owner is woken for it.
        """
        quiet = obj["kind"] in _QUIET and not obj.get("status")
        self._try(self._remember if quiet else self.cache.put, obj)

    def _remember(self, obj: Object) -> None:
        self.cache.put(obj)

    def forget(self, key: Key, uid: str, version: int) -> None:
        """It was not there any more at that version."""
        self._told(self.cache.forget(key, uid, version))

    def lose(self, key: Key) -> None:
        """It can be seen no more, dead or not."""
        self._told(self.cache.lose(key))

    def _try(self, put: Callable[[Object], Change | None], obj: Object) -> None:
        try:
            self._told(put(obj))
        except Exception:  # noqa: BLE001 - one odd object must not hide all others; it is logged and counted
            metrics.LOOP_FAILURES.labels("intake").inc()
            meta = obj.get("metadata") or {}
            _log.exception(
                "%s %s/%s cannot be taken", obj.get("kind"), meta.get("namespace"), meta.get("name")
            )

    def _told(self, change: Change | None) -> None:
        if change is not None:
            self._changed(change)


class Inbox:
    """From another thread into the event loop: many events, one wake-up."""

    def __init__(self, loop: asyncio.AbstractEventLoop, take: Callable[[str | None, Object], None]) -> None:
        """Hand over to `take`, in `loop`."""
        self._loop, self._take = loop, take
        self._waiting: deque[tuple[str | None, Object]] = deque()
        self._woken = False

    def put(self, kind: str | None, obj: Object) -> None:
        """Called in the other thread."""
        self._waiting.append((kind, obj))
        if not self._woken:
            self._woken = True
            self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        # Before anything is taken: what comes from now on wakes again.
        self._woken = False
        for _ in range(min(_AT_ONCE, len(self._waiting))):
            self._take(*self._waiting.popleft())
        if self._waiting:
            self._woken = True
            self._loop.call_soon(self._drain)
