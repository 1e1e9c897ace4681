"""Loops that must go on: one that fails is told, counted and started again. None of them ends the process."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence

from speechless_operator.runtime import metrics

Loop = Callable[[], Awaitable[None]]
"""Makes the loop anew each time; a loop that returns is done."""

DELAYS: Sequence[float] = (0.5, 1, 2, 5, 10, 30)
_WELL_SECONDS = 60.0
_log = logging.getLogger(__name__)


class Patience:
    """How long to wait after each failure in a row: longer each time, for ever, with jitter."""

    def __init__(self, delays: Sequence[float] = DELAYS) -> None:
        """The last delay is repeated."""
        self._delays = delays
        self._failures = 0

    def next(self, at_least: float = 0.0) -> float:
        """One more failure: seconds to wait now."""
        delay = self._delays[min(self._failures, len(self._delays) - 1)]
        self._failures += 1
        return max(at_least, delay * random.uniform(0.8, 1.2))

    def reset(self) -> None:
        """It went well."""
        self._failures = 0


async def supervised(
    name: str, loop: Loop, *, fatal: tuple[type[Exception], ...] = (), delays: Sequence[float] = DELAYS
) -> None:
    """Run `loop`; when it raises, log the traceback, wait, and run it again. Returns when the loop returns.

    Raises:
        Exception: One of `fatal`, for which the process is to end.
    """
    patience = Patience(delays)
    while True:
        began = time.monotonic()
        try:
            await loop()
            return
        except fatal:
            raise
        except Exception:  # noqa: BLE001 - whatever it is, the other loops go on, and it is logged and counted
            metrics.LOOP_FAILURES.labels(name).inc()
            if time.monotonic() - began > _WELL_SECONDS:
                patience.reset()
            seconds = patience.next()
            _log.exception(
                "%s failed: a defect of the operator; it is started again in %.1f s", name, seconds
            )
            await asyncio.sleep(seconds)
