"""The work queue: each key once, one worker a key, failures tried again with growing patience.

Two lanes: what just changed goes before the thousands that a start looks at. In a lane namespaces take turns, so that
one with ten thousand resources does not make another wait.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from speechless_operator.runtime import metrics

K = TypeVar("K")

FIRST_BACKOFF, LAST_BACKOFF = 1.0, 60.0
TURNS = 8
"""After so many that changed, one that did not: it waits, but not for ever."""


class _Lane(Generic[K]):
    """Keys in the order they came, by group; groups take turns."""

    def __init__(self, group_of: Callable[[K], str]) -> None:
        self._group_of = group_of
        self._groups: OrderedDict[str, OrderedDict[K, float]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __contains__(self, key: K) -> bool:
        return key in self._groups.get(self._group_of(key), ())

    def add(self, key: K, since: float) -> None:
        self._groups.setdefault(self._group_of(key), OrderedDict())[key] = since
        self._size += 1

    def take(self) -> tuple[K, float]:
        group, keys = next(iter(self._groups.items()))
        found = keys.popitem(last=False)
        self._size -= 1
        if keys:
            self._groups.move_to_end(group)
        else:
            del self._groups[group]
        return found

    def remove(self, key: K) -> float:
        group = self._group_of(key)
        since = self._groups[group].pop(key)
        self._size -= 1
        if not self._groups[group]:
            del self._groups[group]
        return since

    def oldest(self) -> float:
        return min((next(iter(keys.values())) for keys in self._groups.values()), default=float("inf"))

    def clear(self) -> None:
        self._groups.clear()
        self._size = 0


class WorkQueue(Generic[K]):
    """Keys that wait for a worker.

    A key that is added while it is worked on is worked on once more afterwards, so that no change is missed and no two
    workers hold the same key.
    """

    def __init__(self, group_of: Callable[[K], str] = lambda _: "") -> None:
        """Start empty. Keys of different groups take turns."""
        self._first, self._later = _Lane(group_of), _Lane(group_of)
        self._turn = 0
        self._working: set[K] = set()
        self._again: set[K] = set()
        self._timers: dict[K, tuple[float, asyncio.TimerHandle]] = {}
        self._failures: dict[K, int] = {}
        self._wake = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._first) + len(self._later)

    def add(self, key: K, *, changed: bool = True) -> None:
        """Let a worker look at this key as soon as one is free; one that did not change lets the others go first."""
        if self._closed:
            return
        self._cancel(key)
        if key in self._working:
            self._again.add(key)
        elif changed and key in self._later:
            self._first.add(key, self._later.remove(key))
        elif key not in self._first and key not in self._later:
            (self._first if changed else self._later).add(key, time.monotonic())
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
        while not len(self):
            if self._closed:
                return None
            self._wake.clear()
            await self._wake.wait()
        key, since = self._next().take()
        metrics.QUEUE_WAIT.observe(time.monotonic() - since)
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
        self._first.clear()
        self._later.clear()
        self._again.clear()
        for key in list(self._timers):
            self._cancel(key)
        self._wake.set()

    def oldest_seconds(self) -> float:
        """How long the first key has waited."""
        return time.monotonic() - min(self._first.oldest(), self._later.oldest()) if len(self) else 0.0

    def _next(self) -> _Lane[K]:
        self._turn = (self._turn + 1) % (TURNS + 1)
        if not self._later or (self._first and self._turn):
            return self._first
        return self._later

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _cancel(self, key: K) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer[1].cancel()
