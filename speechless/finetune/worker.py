"""The process that trains: `python -m speechless.finetune.worker JOB`, started by `launch.py`, one a rank.

Several ranks are started by torchrun. The first one's standard input is a socket to the starter (`channel.py`): it
tells progress and is told to stop. Signals are the starter's business; the end of the socket ends this process.
"""

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechless.contract import FailureReason
from speechless.failures import failure_of
from speechless.finetune.channel import Channel
from speechless.finetune.job import Job
from speechless.openmp import settle_threads

GONE = 3
"""The exit status after the starter is gone."""


class _Silent:
    """The starter, for the ranks that do not speak with it."""

    def progress(self, step: int, total: int, values: Mapping[str, float]) -> None:
        """The first rank tells it."""

    def stopping(self) -> bool:
        """The first rank is told."""
        return False

    def settled(self) -> None:
        """The first rank says so."""

    def keep(self, step: int, best: int | None) -> None:
        """The first rank asks for it."""


class _Speaking(logging.Handler):
    """The starter, at the other end of a channel; also where log lines go."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel
        self._over = False
        self._events = {name: threading.Event() for name in ("stop", "kept", "known")}
        threading.Thread(target=self._listen, name="starter", daemon=True).start()

    def progress(self, step: int, total: int, values: Mapping[str, float]) -> None:
        """Tell the starter."""
        self._channel.send("progress", [step, total, dict(values)])

    def stopping(self) -> bool:
        """Whether the starter said so."""
        return self._events["stop"].is_set()

    def settled(self) -> None:
        """Tell the starter, and wait."""
        self._channel.send("settled")
        self._events["known"].wait()

    def keep(self, step: int, best: int | None) -> None:
        """Ask the starter, and wait."""
        self._events["kept"].clear()
        self._channel.send("keep", [step, best])
        self._events["kept"].wait()

    def emit(self, record: logging.LogRecord) -> None:
        """A log line is the starter's to show."""
        # Without a starter this process is about to end, and nobody reads its log.
        with contextlib.suppress(OSError):
            self._channel.send("log", [record.levelno, record.name, self.format(record)])

    def end(self, name: str, value: Any) -> None:
        """Say the last thing."""
        self._over = True
        self._channel.send(name, value)

    def _listen(self) -> None:
        try:
            while True:
                for name, _ in self._channel.receive():
                    self._events[name].set()
        except EOFError:
            if not self._over:
                os._exit(GONE)  # whatever the main thread does: nobody wants it any more


def main(argv: Sequence[str]) -> int:
    """Train by a job's file; 0, or 1 after the starter was told why not."""
    (file,) = argv
    first = int(os.environ.get("RANK", "0")) == 0
    # A terminal or an init system sends a signal to all processes. It is meant for the starter, which says what is to
    # be done. Ranks of torchrun are ended by it, with SIGTERM, when one of them failed.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if "RANK" not in os.environ:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    settle_threads()
    speaking = _Speaking(Channel(_socket())) if first else None
    handlers = [speaking] if speaking else None
    level = logging.INFO if first else logging.WARNING
    logging.basicConfig(level=level, handlers=handlers, format="%(message)s", force=True)
    # What takes seconds to load is loaded while the starter reads the rows.
    from speechless.finetune import harness

    harness.load()
    job = _job(Path(file))
    try:
        outcome = harness.train(job, speaking or _Silent())
    except Exception as error:  # noqa: BLE001 - the process's last resort: every failure is told and has a reason
        failure = failure_of(error)
        if speaking:
            speaking.end("failed", failure.model_dump(mode="json"))
        # Every rank of a run that was told to stop ends so, and none of them failed.
        return int(failure.reason is not FailureReason.INTERRUPTED)
    if speaking:
        speaking.end("done", outcome.model_dump(mode="json"))
    return 0


def _job(file: Path) -> Job:
    """The job, as soon as the starter has put it there."""
    while not file.exists():
        time.sleep(0.05)
    return Job.model_validate_json(file.read_bytes())


def _socket() -> socket.socket:
    """The one that standard input is; libraries that read standard input then find nothing."""
    try:
        found = socket.socket(fileno=os.dup(0))
    except OSError:
        sys.exit("speechless.finetune.worker: started by 'speechless finetune', not by hand")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
