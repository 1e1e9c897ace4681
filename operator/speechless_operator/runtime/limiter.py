"""A token bucket: neither kopf nor aiohttp limits what a client asks of an API server."""

from __future__ import annotations

import asyncio
import time


class Limiter:
    """Lets `rate` requests a second pass on average, `burst` at once."""

    def __init__(self, rate: float, burst: int) -> None:
        """Start with a full bucket."""
        self._rate, self._burst = rate, burst
        self._tokens = float(burst)
        self._at = time.monotonic()

    async def acquire(self) -> None:
        """Wait for this request's turn; turns are given in the order they were asked for."""
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        self._tokens -= 1
        if self._tokens < 0:
            await asyncio.sleep(-self._tokens / self._rate)
