"""The work queue: each key once, one worker a key, failures tried again with growing patience."""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")

FIRST_BACKOFF, LAST_BACKOFF = 1.0, 60.0


class WorkQueue(Generic[K]):
    """Keys that wait for a worker.

    A key that is added while it is worked on is worked on once more afterwards, so that no change is missed and no two
    workers hold the same key.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._ready: OrderedDict[K, float] = OrderedDict()
        self._working: set[K] = set()
        self._again: set[K] = set()
        self._timers: dict[K, tuple[float, asyncio.TimerHandle]] = {}
        self._failures: dict[K, int] = {}
        self._wake = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._ready)

    def add(self, key: K) -> None:
        """Let a worker look at this key as soon as one is free."""
        if self._closed:
            return
        self._cancel(key)
        if key in self._working:
            self._again.add(key)
        elif key not in self._ready:
            self._ready[key] = time.monotonic()
            self._wake.set()

    def add_after(self, key: K, seconds: float) -> None:
        """Look at this key after a while; the earliest wish counts."""
        at = time.monotonic() + seconds
        known = self._timers.get(key)
        if self._closed or (known is not None and known[0] <= at):
            return
        self._cancel(key)
        handle = asyncio.get_running_loop().call_later(seconds, self._due, key)
        self._timers[key] = (at, handle)

    def retry(self, key: K) -> float:
        """Try a key that failed again, later each time; say in how many seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        seconds: float = min(LAST_BACKOFF, FIRST_BACKOFF * 2.0 ** min(failures, 10)) * random.uniform(
            0.8, 1.2
        )
        self.add_after(key, seconds)
        return seconds

    def forget(self, key: K) -> None:
        """A key went well: its next failure is a first one."""
        self._failures.pop(key, None)

    async def get(self) -> K | None:
        """The next key; None when the queue is closed. `done` must follow."""
        while not self._ready:
            if self._closed:
                return None
            self._wake.clear()
            await self._wake.wait()
        key, _ = self._ready.popitem(last=False)
        self._working.add(key)
        return key

    def done(self, key: K) -> None:
        """A worker is through with a key."""
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def close(self) -> None:
        """Give out no more keys; workers end after the one they have."""
        self._closed = True
        self._ready.clear()
        self._again.clear()
        for key in list(self._timers):
            self._cancel(key)
        self._wake.set()

    def oldest_seconds(self) -> float:
        """How long the first key has waited."""
        return time.monotonic() - next(iter(self._ready.values())) if self._ready else 0.0

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _cancel(self, key: K) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer[1].cancel()
