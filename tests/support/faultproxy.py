"""A real HTTP proxy between a client and an API server that can do to requests what networks and servers do.

Plain HTTP comes in on loopback; it goes out with the TLS settings and credentials of a kubeconfig. Answers
are passed on as they arrive, so watches, log streams and server-sent events keep their timing. Connection
upgrades (exec, port-forward) are refused with 501: nothing here needs them.

    with FaultProxy(access) as proxy:
        client = Kube(Access.from_kubeconfig(proxy.kubeconfig(path)))
        with proxy.fault(Answer(503), method="PATCH"):
            ...
"""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from aiohttp import web

from tests.support.access import Access
from tests.support.faults import ErrorEvent, Fault, Match, Rule, Rules
from tests.support.relay import Record, Relay, RunningWatch

T = TypeVar("T")


class FaultProxy:
    """The proxy; runs in a thread of its own between `start` and `stop`."""

    def __init__(self, access: Access) -> None:
        self._rules = Rules()
        self._relay = Relay(access, self._rules)
        self._sockets = selectors.DefaultSelector()
        self._loop = asyncio.SelectorEventLoop(self._sockets)
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._runner: web.ServerRunner | None = None
        self.url = ""

    # -- for tests ------------------------------------------------------------------------------------

    def fault(
        self,
        fault: Fault,
        *,
        method: str | None = None,
        path: str = "",
        watch: bool | None = None,
        query: Mapping[str, str] | None = None,
        times: int | None = None,
    ) -> Rule:
        """Add a rule: `times` times, or until it is removed (or its `with` block ends)."""
        return self._rules.add(fault, Match(method, path, watch, query or {}), times)

    def clear(self) -> None:
        """Remove all rules."""
        self._rules.clear()

    def records(
        self, *, method: str | None = None, path: str = "", watch: bool | None = None
    ) -> list[Record]:
        """The requests that came in so far and match, in order."""
        match = Match(method, path, watch)
        return [record for record in list(self._relay.records) if match.matches(record.request)]

    def running_watches(self, path: str = "") -> int:
        """How many watches are open now."""
        return sum(Match(path=path).matches(watch.request) for watch in list(self._relay.watches))

    def cut_watches(self, path: str = "") -> int:
        """Cut the connections of all running watches; return how many there were."""
        return self._each_watch(path, lambda watch: watch.cut())

    def send_error_event(self, event: ErrorEvent | None = None, path: str = "") -> int:
        """Send an ERROR event into all running watches, which ends them; return how many there were."""
        return self._each_watch(path, lambda watch: watch.fail(event or ErrorEvent()))

    def kubeconfig(self, path: Path, token: str | None = None) -> Path:
        """Write a kubeconfig for the proxy's address: as the proxied user, or as the bearer of `token`."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "proxy", "cluster": {"server": self.url}}],
            "users": [{"name": "proxy", "user": {"token": token} if token else {}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
            "current-context": "proxy",
        }
        path.write_text(yaml.safe_dump(config))
        return path

    def start(self) -> FaultProxy:
        """Listen on a free loopback port."""
        self._thread.start()
        try:
            self._run(self._start())
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Close every connection and end the thread."""
        if self._thread.is_alive():
            try:
                self._run(self._stop())
            finally:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._thread.join(10)
        self._loop.close()

    __enter__ = start

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- inside the thread ----------------------------------------------------------------------------

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def _each_watch(self, path: str, act: Callable[[RunningWatch], Awaitable[None] | None]) -> int:
        async def on_all() -> int:
            matching = [watch for watch in self._relay.watches if Match(path=path).matches(watch.request)]
            for watch in matching:
                pending = act(watch)
                if pending is not None:
                    await pending
            return len(matching)

        return self._run(on_all())

    async def _start(self) -> None:
        # Cancelled handlers: when a client goes, its watch on the API server must go too.
        server = web.Server(self._relay.handle, handler_cancellation=True, access_log=None)
        # Running watches would hold up the end for the whole of this time.
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()
        await self._relay.close()
        # aiohttp forgets a connection that it told to close: the loop runs on until the last one is closed,
        # when nothing but the loop's own wake-up socket is left.
        async with asyncio.timeout(10):
            while len(self._sockets.get_map()) > 1:
                await asyncio.sleep(0.005)
