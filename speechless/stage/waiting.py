"""Waiting for a source that another program is still writing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from speechless.contract import Source
from speechless.store import Store

log = logging.getLogger("speechless.stage")

_STEP = 0.5
"""Seconds between two looks."""


def await_source(
    store: Store, source: Source, *, waiting: Callable[[str], None], check: Callable[[], None]
) -> None:
    """Give a source the time that it was granted; opening it tells what is wrong if it did not appear.

    `waiting` is told once that there is something to wait for; `check` is called between looks and may raise.
    """
    patience = source.wait_seconds or 0
    deadline = time.monotonic() + patience
    if not patience or store.exists(source.uri):
        return
    log.info("waiting up to %d s for %s", patience, source.uri)
    waiting(f"waiting for {source.uri}")
    while not store.exists(source.uri) and time.monotonic() < deadline:
        check()
        time.sleep(_STEP)
    check()
