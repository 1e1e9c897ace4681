"""A thread that sends what was logged to one tracker, so that a tracker that hangs does not hold up the training."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from speechless.contract.tracking import Tracker
from speechless.finetune.trackers.base import Connection, End, Logged

log = logging.getLogger(__name__)

BATCH, LIMIT = 100, 100_000
"""Steps that are sent at once, and that are kept while the tracker does not answer."""
FIRST_SECONDS, LONGEST_SECONDS, LAST_SECONDS = 1.0, 60.0, 0.5
"""Until it is tried again: at first, at most, and after the end of the training."""


class Sender:
    """Sends to one tracker, in order. What fails is warned of once, kept and tried again."""

    def __init__(
        self, name: Tracker, connect: Callable[[], Connection], connection: Connection | None
    ) -> None:
        """`connection`: None where it could not be reached yet."""
        self._name, self._connect, self._connection = name, connect, connection
        self._waiting = deque[Logged](maxlen=LIMIT)
        self._lost = 0
        self._changed = threading.Condition()
        self._how: End | None = None
        self._ending, self._done, self._given_up = (threading.Event() for _ in range(3))
        self._failing = connection is None
        threading.Thread(target=self._work, name=f"tracker {name}", daemon=True).start()

    def put(self, logged: Logged) -> None:
        """Take values; returns at once."""
        with self._changed:
            self._lost += len(self._waiting) == LIMIT
            self._waiting.append(logged)
            self._changed.notify()

    def end(self, how: End) -> None:
        """Send what is left, and end the tracker's run; returns at once."""
        with self._changed:
            self._how = how
            self._ending.set()
            self._changed.notify()

    def wait(self, seconds: float) -> None:
        """Wait for the end that `end` asked for; where it does not come, warn and give the tracker up."""
        self._done.wait(max(0.0, seconds))
        with self._changed:
            lost = self._lost + len(self._waiting)
            if not self._done.is_set():
                self._given_up.set()
                log.warning("%s does not answer: its run was not ended, and misses values", self._name)
            elif lost:
                log.warning("%s misses the values of %d steps", self._name, lost)

    def _work(self) -> None:
        while not self._done.is_set() and not self._given_up.is_set():
            batch = self._take()
            pause = FIRST_SECONDS
            while not self._send(batch):
                if self._given_up.is_set():
                    return
                self._ending.wait(pause)
                if self._ending.is_set():
                    time.sleep(LAST_SECONDS)
                pause = min(2 * pause, LONGEST_SECONDS)

    def _take(self) -> list[Logged]:
        """The next values; none: the training has ended, and nothing is left."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._how)
            return [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]

    def _send(self, batch: list[Logged]) -> bool:
        """Whether it was taken."""
        try:
            if self._connection is None:
                self._connection = self._connect()
            if batch:
                self._connection.log(batch)
            elif self._how is not None:
                self._connection.end(self._how)
                self._done.set()
        except Exception as error:  # noqa: BLE001 - a tracker must not cost a training; what it raises is its own
            if not self._failing:
                why = str(error).strip().partition("\n")[0][:300] or type(error).__name__
                log.warning(
                    "%s does not answer (%s): the training goes on; it is tried again", self._name, why
                )
            self._failing = True
            return False
        if self._failing:
            log.info("%s answers again", self._name)
        self._failing = False
        return True
