"""Run llama-server and let it finish what is under way when SIGTERM comes: by itself it would drop the requests."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from speechless.generate.http import NoAnswerError, ask
from speechless.generate.llamacpp.tools import stop_process

log = logging.getLogger(__name__)


def run(
    argv: Sequence[str], url: str, *, environment: Mapping[str, str], key: str | None, drain_seconds: float
) -> int:
    """Run the server until it ends or SIGTERM or SIGINT comes; the exit status, 0 after a signal.

    After a signal it is asked every quarter of a second which slots are busy, and ended when none is or after
    `drain_seconds`. Whoever sends new requests meanwhile is still answered: a Service no longer names this pod by then.
    """
    asked = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: asked.set())
    # A session of its own: Ctrl-C reaches this process alone, which then drains.
    with subprocess.Popen(
        list(argv), stdin=subprocess.DEVNULL, env=dict(environment), start_new_session=True
    ) as process:
        try:
            while not asked.wait(0.25):
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
