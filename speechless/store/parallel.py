"""Work on several files at a time: the first failure stops the others, and one thread alone tells how far it is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TypeVar

FILES = 4
"""Files at a time."""
Item = TypeVar("Item")
Made = TypeVar("Made")


class Stopped(Exception):  # noqa: N818 - it is nobody's fault
    """Another file's transfer failed, or the work was stopped."""


class Watch:
    """What the transfers of one call share: how much was moved, and whether to stop."""

    def __init__(self) -> None:
        """Begin at nothing."""
        self._lock = threading.Lock()
        self._moved = 0
        self.stopped = threading.Event()

    def moved(self, count: int) -> None:
        """Count bytes; raises Stopped once nobody needs them any more."""
        with self._lock:
            self._moved += count
        if self.stopped.is_set():
            raise Stopped

    def take(self) -> int:
        """The bytes moved since the last call."""
        with self._lock:
            moved, self._moved = self._moved, 0
        return moved


def side_by_side(
    items: Iterable[Item], work: Callable[[Item, Watch], Made], tick: Callable[[int], None]
) -> list[Made]:
    """Do the work for several items at a time, in order of the results; the first failure stops the others.

    `tick` is called by this thread alone.
    """
    watch = Watch()
    with ThreadPoolExecutor(FILES, thread_name_prefix="file") as pool:
        futures = [pool.submit(work, item, watch) for item in items]
        try:
            _until_done(futures, watch, tick)
        finally:
            watch.stopped.set()
            for future in futures:
                future.cancel()
    return [future.result() for future in futures]


def _until_done(futures: Sequence[Future[Made]], watch: Watch, tick: Callable[[int], None]) -> None:
    pending = set(futures)
    while pending:
        done, pending = wait(pending, timeout=0.2, return_when=FIRST_EXCEPTION)
        tick(watch.take())
        for future in done:
            future.result()
