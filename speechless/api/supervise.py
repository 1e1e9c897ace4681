"""Run llama-server and let it finish what is under way when SIGTERM comes: by itself it would drop the requests."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import FrameType

from speechless.generate.http import NoAnswerError, ask
from speechless.generate.llamacpp.tools import stop_process

log = logging.getLogger(__name__)


class Asked:
    """Whether a signal asked this process to end.

    A plain flag, looked at now and then: an Event's lock may be held by the very code that a handler interrupts, and an
    exception out of a handler may end in somebody's `except`.
    """

    def __init__(self) -> None:
        """Nobody asked yet."""
        self.by: signal.Signals | None = None

    def listen(self) -> None:
        """Let SIGTERM and SIGINT set it."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.by = signal.Signals(number)


def run(
    argv: Sequence[str],
    url: str,
    *,
    environment: Mapping[str, str],
    key: str | None,
    drain_seconds: float,
    asked: Asked | None = None,
) -> int:
    """Run the server until it ends or SIGTERM or SIGINT comes; the exit status, 0 after a signal.

    After a signal it is asked every quarter of a second which slots are busy, and ended when none is or after
    `drain_seconds`. Whoever sends new requests meanwhile is still answered: a Service no longer names this pod by then.
    With `asked`, a signal that came before counts, too.
    """
    asked = asked or Asked()
    asked.listen()
    # A session of its own: Ctrl-C reaches this process alone, which then drains.
    with subprocess.Popen(
        list(argv), stdin=subprocess.DEVNULL, env=dict(environment), start_new_session=True
    ) as process:
        try:
            while asked.by is None:
                time.sleep(0.25)
                if process.poll() is not None:
                    return process.returncode if process.returncode >= 0 else 128 - process.returncode
            deadline = time.monotonic() + drain_seconds
            while time.monotonic() < deadline and process.poll() is None and busy(url, key):
                time.sleep(0.25)
        finally:
            stop_process(process)
    return 0


def busy(url: str, key: str | None) -> bool:
    """Whether a slot of llama-server is processing (its route /slots).

    A server that takes its time to answer is busy with a long prompt; one that cannot be asked is not waited for.
    """
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        status, text = ask(f"{url}/slots", headers=headers, timeout=5, direct=True)
    except NoAnswerError as problem:
        cause = problem.__cause__
        if isinstance(getattr(cause, "reason", cause), TimeoutError):
            return True
        log.warning("llama-server does not answer while it drains: %s", problem)
        return False
    if status != HTTPStatus.OK:
        log.warning("llama-server does not say which slots are busy: HTTP %d", status)
        return False
    try:
        return any(bool(slot["is_processing"]) for slot in json.loads(text))
    except (ValueError, KeyError, TypeError) as problem:
        log.warning("llama-server's slots cannot be read: %r", problem)
        return False
