"""A token bucket with lanes: when requests have to wait, what matters more goes first."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from enum import IntEnum
from time import monotonic


class Lane(IntEnum):
    """What a request is for; a lower number goes first."""

    WORK = 0
    """Children, status, and what a plan needs to know."""
    EVENTS = 1
    """Kubernetes Events."""
    PROGRESS = 2
    """status.progress: news, not state."""


class Limiter:
    """Lets `rate` requests a second pass on average, `burst` at once. A rate of 0 lets everything pass."""

    def __init__(self, rate: float, burst: int) -> None:
        """Start with a full bucket."""
        self._rate, self._burst = rate, max(1, burst)
        self._tokens = float(self._burst)
        self._at = monotonic()
        self._waiting: list[tuple[Lane, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    async def acquire(self, lane: Lane = Lane.WORK) -> None:
        """Wait for this request's turn: by lane, then in the order they were asked for."""
        if not self._rate:
            return
        if not self._waiting and self._take():
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (lane, next(self._numbers), turn))
        self._arm()
        await turn

    def _take(self) -> bool:
        now = monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _arm(self) -> None:
        if self._timer is None and self._waiting:
            seconds = max(0.0, (1 - self._tokens) / self._rate)
            self._timer = asyncio.get_running_loop().call_later(seconds, self._give)

    def _give(self) -> None:
        self._timer = None
        while self._waiting:
            # One who was cancelled while waiting takes no token.
            if self._waiting[0][2].done():
                heapq.heappop(self._waiting)
                continue
            if not self._take():
                break
            heapq.heappop(self._waiting)[2].set_result(None)
        self._arm()
