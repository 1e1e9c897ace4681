"""The inside of the fault proxy: takes a request to the API server and back, or lets a fault decide."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from tests.support.access import Access
from tests.support.faults import Answer, Blackhole, Delay, Drop, ErrorEvent, Fault, Request, Rules

# Headers of one connection, not of the message: each side of the proxy has its own.
HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "host",
}


@dataclass
class Record:
    """One request that came in. `status` is what the client was told, `None` if it was told nothing."""

    request: Request
    started: float  # time.monotonic()
    status: int | None = None
    ended: float | None = None
    faults: tuple[Fault, ...] = ()


class RunningWatch:
    """A running watch: whoever holds it can put an event into it or end it."""

    def __init__(self, request: Request, response: web.StreamResponse, transport: asyncio.Transport) -> None:
        self.request = request
        self._response = response
        self._transport = transport
        self._ended = False

    async def send(self, line: bytes) -> None:
        """Write a complete line, unless the watch was ended in the meantime."""
        if not self._ended:
            await self._response.write(line)

    async def fail(self, event: ErrorEvent) -> None:
        """Send an ERROR event and end the watch in good order."""
        await self.send(event.line())
        self._ended = True
        await self._response.write_eof()
        self._transport.close()

    def cut(self) -> None:
        """Close the connection without the end of the answer."""
        self._ended = True
        self._transport.abort()


class Relay:
    """Handles the requests of a proxy; lives in one event loop."""

    def __init__(self, access: Access, rules: Rules) -> None:
        self._access = access
        self._rules = rules
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self.records: list[Record] = []
        self.watches: list[RunningWatch] = []

    async def close(self) -> None:
        """Close the connections to the API server."""
        for session in self._sessions.values():
            await session.close()

    def _session(self, *, client_certificate: bool) -> aiohttp.ClientSession:
        """A session as the proxied user, or one without a certificate: a caller's own token then decides."""
        if client_certificate not in self._sessions:
            ssl = (
                self._access.ssl_context(client_certificate=client_certificate) if self._access.tls else False
            )
            self._sessions[client_certificate] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=ssl, limit=0),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
            )
        return self._sessions[client_certificate]

    async def handle(self, incoming: web.BaseRequest) -> web.StreamResponse:
        """Take one request to the API server and back."""
        request = Request(incoming.method, incoming.path, dict(incoming.query))
        faults = self._rules.take(request)
        record = Record(request, time.monotonic(), faults=tuple(faults))
        self.records.append(record)
        deciding: Fault | None = None
        try:
            for fault in faults:
                if isinstance(fault, Delay):
                    await asyncio.sleep(fault.seconds)
                else:
                    deciding = fault
            return await self._answer(incoming, record, deciding)
        except aiohttp.ClientError:
            # The API server is away or broke off: the client sees what it would see without a proxy.
            return _hang_up(incoming)
        finally:
            record.ended = time.monotonic()

    async def _answer(
        self, incoming: web.BaseRequest, record: Record, fault: Fault | None
    ) -> web.StreamResponse:
        if isinstance(fault, Blackhole):
            await asyncio.Event().wait()
        if isinstance(fault, Answer):
            record.status = fault.code
            headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            return web.Response(
                status=fault.code, body=fault.body(), headers=headers, content_type="application/json"
            )
        if fault == Drop("before"):
            return _hang_up(incoming)
        if "Upgrade" in incoming.headers:
            record.status = 501
            return web.Response(status=501, text="the fault proxy does not carry connection upgrades")
        return await self._forward(incoming, record, fault)

    async def _forward(
        self, incoming: web.BaseRequest, record: Record, fault: Fault | None
    ) -> web.StreamResponse:
        headers = {k: v for k, v in incoming.headers.items() if k.lower() not in HOP_BY_HOP}
        own_token = "Authorization" in headers
        if not own_token:
            headers |= self._access.headers()
        async with self._session(client_certificate=not own_token).request(
            incoming.method,
            URL(self._access.server + incoming.raw_path, encoded=True),
            headers=headers,
            data=incoming.content if incoming.can_read_body else None,
            allow_redirects=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        ) as upstream:
            if fault == Drop("after"):
                await upstream.read()
                return _hang_up(incoming)
            response = web.StreamResponse(status=upstream.status)
            for key, value in upstream.headers.items():
                if key.lower() not in HOP_BY_HOP:
                    response.headers.add(key, value)
            await response.prepare(incoming)
            record.status = upstream.status
            if fault == Drop("middle"):
                chunk = await upstream.content.readany()
                await response.write(chunk[: max(1, len(chunk) // 2)])
                _transport(incoming).close()
            elif record.request.watch and upstream.status == 200:
                watch = RunningWatch(record.request, response, _transport(incoming))
                await self._pass_watch(watch, upstream, fault if isinstance(fault, ErrorEvent) else None)
            else:
                async for chunk in upstream.content.iter_any():
                    await response.write(chunk)
            return response

    async def _pass_watch(
        self, watch: RunningWatch, upstream: aiohttp.ClientResponse, event: ErrorEvent | None
    ) -> None:
        """Pass on whole lines only, so that an ERROR event can be put between any two."""
        self.watches.append(watch)
        try:
            passed = 0
            pending = b""
            if event and event.after == 0:
                return await watch.fail(event)
            async for chunk in upstream.content.iter_any():
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    await watch.send(line + b"\n")
                    passed += 1
                    if event and passed == event.after:
                        return await watch.fail(event)
            if pending:  # the server broke off amid a line
                await watch.send(pending)
        finally:
            self.watches.remove(watch)


def _transport(incoming: web.BaseRequest) -> asyncio.Transport:
    transport: Any = incoming.transport
    if transport is None:
        raise ConnectionResetError("the client is gone")
    return transport  # type: ignore[no-any-return]


def _hang_up(incoming: web.BaseRequest) -> web.Response:
    """Close the client's connection; the response is for aiohttp, which no longer can send it."""
    if incoming.transport is not None:
        incoming.transport.abort()
    return web.Response()
