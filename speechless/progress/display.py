"""Progress for people: a bar on a terminal, where rich is installed, and log lines everywhere else."""

import importlib.util
import logging
import sys
import time
from collections.abc import Callable
from typing import Protocol

from speechless.contract import Progress, ProgressPhase

log = logging.getLogger("speechless.progress")

EVERY_SECONDS = 10.0
"""Between two log lines of one phase."""


class Display(Protocol):
    """Shows progress; called with the state's lock held, so it must be quick."""

    def phase(self, now: Progress) -> None:
        """A phase began."""

    def progress(self, now: Progress) -> None:
        """Steps were made."""

    def close(self) -> None:
        """Nothing more comes."""


class Lines:
    """Log lines: every phase, the first and the last step, and one in between every `every` seconds."""

    def __init__(self, every: float = EVERY_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        """Take the seconds between two lines and a clock."""
        self._every, self._clock = every, clock
        self._last: float | None = None

    def phase(self, now: Progress) -> None:
        """Log the phase."""
        self._last = None
        log.info("%s", f"{now.phase}: {now.message}" if now.message else now.phase)

    def progress(self, now: Progress) -> None:
        """Log the step if it is time to."""
        moment = self._clock()
        if self._last is None or moment - self._last >= self._every or now.step == now.total_steps:
            self._last = moment
            log.info("%s", line(now))

    def close(self) -> None:
        """Nothing is open."""


class Bar:
    """A bar on a terminal, by rich; what is logged meanwhile stands above it."""

    def __init__(self) -> None:
        """Start drawing on standard error."""
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Rich

        self._bar = Rich(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[said]}"),
            console=Console(stderr=True),
            redirect_stdout=sys.stdout.isatty(),
        )
        self._task = self._bar.add_task("starting", total=None, said="")
        before = sys.stderr
        self._bar.start()
        # While the bar is drawn, rich stands in for standard error and puts lines above the bar. A log's handler that
        # was made before must write there, too.
        self._handlers = [
            (handler, before)
            for handler in logging.getLogger().handlers
            if isinstance(handler, logging.StreamHandler) and handler.stream is before
        ]
        for handler, _ in self._handlers:
            handler.setStream(sys.stderr)

    def phase(self, now: Progress) -> None:
        """Name the phase."""
        total = 100 if now.phase is ProgressPhase.DONE else None
        self._bar.update(
            self._task,
            description=now.message or now.phase.value,
            total=total,
            completed=now.percent,
            said="",
        )

    def progress(self, now: Progress) -> None:
        """Move the bar."""
        self._bar.update(self._task, total=now.total_steps or None, completed=now.step, said=line(now))

    def close(self) -> None:
        """Leave the last state on the screen."""
        for handler, stream in self._handlers:
            handler.setStream(stream)
        self._bar.stop()


def choose() -> Display:
    """A bar if somebody looks at a terminal and rich is installed, else log lines."""
    if sys.stderr.isatty() and importlib.util.find_spec("rich"):
        return Bar()
    return Lines()


def line(now: Progress) -> str:
    """Such as `12/500 (2 %), 3 min 20 s left, loss 2.31, learning_rate 0.0002`."""
    parts = [f"{now.step}/{now.total_steps} ({now.percent:.0f} %)" if now.total_steps else f"step {now.step}"]
    if now.remaining_seconds:
        parts.append(f"{duration(now.remaining_seconds)} left")
    parts += [f"{metric.name} {metric.value:.4g}" for metric in now.metrics]
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Such as `45 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
