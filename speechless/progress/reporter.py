"""How far the stage is: one state that the work writes and that the HTTP server, the log and the terminal show."""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping

from speechless.contract import FailureReason, Metric, Progress, ProgressPhase
from speechless.errors import StageError
from speechless.progress.display import Display, choose

_MOST_METRICS = 16


@contextlib.contextmanager
def showing() -> Iterator["Reporter"]:
    """A reporter for the time of a command, shown as it suits whoever looks."""
    shown = choose()
    try:
        yield Reporter(shown)
    finally:
        shown.close()


class Reporter:
    """Thread-safe. Work calls `progress` and polls `stopping`; the signal handler calls `stop`."""

    def __init__(self, display: Display, clock: Callable[[], float] = time.monotonic) -> None:
        """Take what shows progress to people, and a clock in seconds."""
        self._display = display
        self._clock = clock
        self._started = clock()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._now = Progress(phase=ProgressPhase.FETCHING)
        self._first: tuple[int, float] | None = None

    def stop(self) -> None:
        """Ask the work to save what can be saved and to end."""
        self._stop.set()

    def stopping(self) -> bool:
        """Whether the work was asked to end."""
        return self._stop.is_set()

    def check(self) -> None:
        """Raise StageError(INTERRUPTED) if the work was asked to end: for work that has nothing to save."""
        if self.stopping():
            raise StageError(FailureReason.INTERRUPTED, "stopped by a signal", "a new attempt starts again")

    def enter(self, phase: ProgressPhase, message: str = "") -> None:
        """Begin a phase. Steps count from the work's own zero; 100 % is reached when the work is done."""
        done = phase in {ProgressPhase.PUBLISHING, ProgressPhase.DONE}
        with self._lock:
            keep = self._now if done else Progress(phase=phase)
            update = {"phase": phase, "message": message[:256], "percent": 100.0 if done else 0.0}
            self._now = keep.model_copy(update=update | ({"remaining_seconds": 0} if done else {}))
            self._first = None
            self._display.phase(self._now)

    def progress(self, step: int, total: int, metrics: Mapping[str, float] | None = None) -> None:
        """Report `step` of `total` (0: unknown) and the latest values; what is not finite is left out."""
        with self._lock:
            moment = self._clock()
            if self._first is None or step < self._first[0]:
                self._first = (step, moment)
            latest = {metric.name: metric.value for metric in self._now.metrics} | dict(metrics or {})
            finite = [
                Metric(name=name, value=value) for name, value in latest.items() if math.isfinite(value)
            ]
            self._now = Progress(
                phase=self._now.phase,
                step=step,
                total_steps=total,
                percent=min(100.0, 100.0 * step / total) if total else 0.0,
                remaining_seconds=self._remaining(step, total, moment),
                message=self._now.message,
                metrics=tuple(finite[:_MOST_METRICS]),
            )
            self._display.progress(self._now)

    def reading(self, message: str) -> Callable[[int], None]:
        """A tick for the store: shows the bytes read so far and stops the reading when asked to."""
        done, shown = 0, self._clock()

        def tick(count: int) -> None:
            nonlocal done, shown
            done += count
            self.check()
            if self._clock() - shown >= 1:
                shown = self._clock()
                self._say(f"{message}: {done / 1e9:.2f} GB")

        self._say(message)
        return tick

    def snapshot(self) -> Progress:
        """The state now."""
        with self._lock:
            return self._now

    def uptime(self) -> float:
        """Seconds since the stage began."""
        return self._clock() - self._started

    def _say(self, message: str) -> None:
        with self._lock:
            self._now = self._now.model_copy(update={"message": message[:256]})

    def _remaining(self, step: int, total: int, moment: float) -> int | None:
        """Seconds left at the pace so far; a resumed run's pace counts from where it took up."""
        first_step, since = self._first or (step, moment)
        if not total or step <= first_step:
            return None
        return max(0, round((total - step) * (moment - since) / (step - first_step)))
