"""The ear for our four kinds: kopf, in a thread and an event loop of its own, hands watch events over and does no more.

kopf supplies the login, discovery and a watch loop that survives bookmarks, 410 and outages. Only `on.event` handlers
are registered: nothing is patched, no finalizer set, nothing remembered. A `kopf.operator()` that dies takes every
task of its event loop along, hence the thread; it is started again with growing patience.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import kopf

from speechless_operator.desired.objects import Object
from speechless_operator.runtime import metrics
from speechless_operator.runtime.access import Access
from speechless_operator.runtime.keep import slim
from speechless_operator.runtime.resources import OURS, Resource

Sink = Callable[[str | None, Object], None]
"""Takes an event's type (ADDED, MODIFIED, DELETED; None: listed) and its object."""


_log = logging.getLogger(__name__)
_ABANDON_SECONDS = 2
_SAID_EVERY = 60.0
_VARIES = re.compile(r"#\d+|\?\S+|\(.*", re.DOTALL)
"""Of kopf's messages: the attempt's number, a query, an error's details."""
_RESTART_SECONDS = (0.5, 1, 2, 5, 10, 30)


class _Forever:
    """Delays with jitter, the last one for ever, each time from the start: kopf gives up when they end."""

    def __init__(self, *delays: float) -> None:
        self._delays = delays

    def __iter__(self) -> Iterator[float]:
        for delay in itertools.chain(self._delays, itertools.repeat(self._delays[-1])):
            yield delay * random.uniform(0.8, 1.2)


def settings() -> kopf.OperatorSettings:
    """kopf's settings: everything off that writes, and patience without end."""
    made = kopf.OperatorSettings()
    made.posting.enabled = False
    made.peering.standalone = True
    made.scanning.disabled = True
    made.watching.connect_timeout = 10
    made.watching.server_timeout = 10 * 60
    # Bookmarks come every minute: silence for longer is a dead connection.
    made.watching.inactivity_timeout = 70
    made.watching.reconnect_backoff = 0.5
    made.watching.chunk_size = 500
    made.networking.request_timeout = 60
    made.networking.connect_timeout = 10
    made.networking.error_backoffs = _Forever(1, 2, 5, 10, 30)
    made.queueing.idle_timeout = 1
    made.execution.max_workers = 1
    return made


def registry(access: Access, sink: Sink) -> kopf.OperatorRegistry:
    """Handlers that hand events over. A registry of one's own has no login handler: this one gets ours."""
    made = kopf.OperatorRegistry()

    @kopf.on.login(registry=made)
    async def _login(**_: Any) -> kopf.ConnectionInfo:
        return _connection(access)

    for resource in OURS.values():
        _hear(made, resource, sink)
    return made


def _hear(made: kopf.OperatorRegistry, resource: Resource, sink: Sink) -> None:
    @kopf.on.event(
        resource.group, resource.version, resource.plural, registry=made, id=f"hear-{resource.plural}"
    )
    async def _handle(event: Any, **_: Any) -> None:
        obj = dict(event["object"])
        # In a list's answer the items do not say what they are. Slim before it waits for the other thread.
        sink(event["type"], slim(obj | {"apiVersion": resource.api_version, "kind": resource.kind}))


def _connection(access: Access) -> kopf.ConnectionInfo:
    """The operator's access, for kopf."""
    scheme, _, token = (access.authorization() or "").partition(" ")
    given = access.configuration
    tls = access.server.startswith("https://")
    return kopf.ConnectionInfo(
        server=access.server,
        ca_path=given.ssl_ca_cert if tls else None,
        insecure=not given.verify_ssl if tls else None,
        certificate_path=given.cert_file,
        private_key_path=given.key_file,
        scheme=scheme or None,
        token=token or None,
    )


class KopfSource:
    """Runs kopf until it is stopped."""

    def __init__(self, access: Access, sink: Sink, namespaces: Sequence[str] = ()) -> None:
        """Events go to `sink`, called in kopf's thread; no namespaces means all."""
        self._access, self._sink, self._namespaces = access, sink, tuple(namespaces)
        self._stopping = threading.Event()
        self._flag: threading.Event | None = None
        self._beat = self._heard = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="kopf", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """End the watches, and the thread."""
        self._stopping.set()
        self.restart()
        if self._thread.is_alive():
            self._thread.join(5)

    def restart(self) -> None:
        """End the watches; the thread begins new ones."""
        if self._flag is not None:
            self._flag.set()

    def silent_seconds(self) -> float:
        """How long kopf's event loop has not turned: small while the thread lives, whatever there is to hear."""
        return time.monotonic() - self._beat

    def quiet_seconds(self) -> float:
        """How long no event has come, since the watches began at the earliest."""
        return time.monotonic() - self._heard

    def _hand_over(self, kind: str | None, obj: Object) -> None:
        self._heard = time.monotonic()
        self._sink(kind, obj)

    def _run(self) -> None:
        # kopf warns that it is not in the main thread and so leaves signals alone: that is what is wanted.
        logging.getLogger("kopf._core.reactor.running").addFilter(_no_signal_warning)
        for name in ("watching", "api"):
            logging.getLogger(f"kopf._cogs.clients.{name}").addFilter(_Seldom())
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            self._flag = threading.Event()
            loop = asyncio.new_event_loop()
            try:
                loop.run_until_complete(self._listen(self._flag))
            except Exception:  # noqa: BLE001 - whatever ended the watches: without them nothing happens
                metrics.LOOP_FAILURES.labels("kopf").inc()
                _log.exception("the watches ended; they are started again")
            finally:
                # A thread of kopf's executor waits for this flag, and the process for that thread when it ends.
                self._flag.set()
                _abandon(loop)
            if self._stopping.is_set():
                return
            metrics.SOURCE_RESTARTS.inc()
            self._heard = time.monotonic()
            failures = 0 if time.monotonic() - began > 60 else failures + 1
            delay = _RESTART_SECONDS[min(failures, len(_RESTART_SECONDS) - 1)]
            end = time.monotonic() + delay
            while time.monotonic() < end and not self._stopping.wait(0.2):
                self._beat = time.monotonic()

    async def _listen(self, flag: threading.Event) -> None:
        beat = asyncio.create_task(self._beats())
        # Not `kopf.operator()`: when one watch fails for good it waits for the others to end, which they do not.
        tasks = await kopf.spawn_tasks(
            registry=registry(self._access, self._hand_over),
            settings=settings(),
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            stop_flag=flag,
        )
        done, _ = await asyncio.wait([*tasks, beat], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def _beats(self) -> None:
        while True:
            self._beat = time.monotonic()
            await asyncio.sleep(1)


class _Seldom(logging.Filter):
    """Lets what kopf says of a kind and namespace through once a minute: it tries for ever, and says so each time."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now, what = time.monotonic(), _VARIES.sub("", record.getMessage())
        self._said = {text: at for text, at in self._said.items() if now - at < _SAID_EVERY}
        return self._said.setdefault(what, now) == now


def _no_signal_warning(record: logging.LogRecord) -> bool:
    return "OS signals are ignored" not in record.getMessage()


def _abandon(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what still runs in a loop, and leave it behind though a task may hang."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    try:
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks, timeout=_ABANDON_SECONDS))
    finally:
        loop.close()
