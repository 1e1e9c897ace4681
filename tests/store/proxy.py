"""An HTTP proxy before a store that does what networks and servers do, and tells a test of every request."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from enum import Enum, auto

import aiohttp
from aiohttp import web
from yarl import URL

from tests.support.handler import Handler


class Fault(Enum):
    """What becomes of one request."""

    NONE = auto()
    BUSY = auto()
    """503, and nothing reaches the server."""
    SLOW = auto()
    """A second's delay."""
    CUT_REQUEST = auto()
    """The connection ends before the server has it all."""
    LOSE_ANSWER = auto()
    """The server did it, and nobody is told."""
    CUT_ANSWER = auto()
    """Half of the answer comes."""
    WRONG_ANSWER = auto()
    """One byte of the answer's body is another."""
    WRONG_REQUEST = auto()
    """One byte of the request's body is another."""


Decide = Callable[[int, web.BaseRequest], "Fault | web.Response"]
"""(number, request): what becomes of it, or what is answered in the server's place."""
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-encoding"}


@dataclass
class Proxy(Handler):
    """Runs in a thread of its own; `decide` is asked about each request by its number, from 1."""

    target: str
    decide: Decide = lambda _number, _request: Fault.NONE
    requests: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.raw_path}")
        fault = self.decide(len(self.requests), request)
        if isinstance(fault, web.Response):
            return fault
        self.faults.append(fault)
        try:
            return await self._pass(request, fault)
        except ConnectionResetError:  # the client was killed meanwhile: nobody is there to be answered
            return self._hang_up(request)

    async def _pass(self, request: web.BaseRequest, fault: Fault) -> web.StreamResponse:
        if fault is Fault.BUSY:
            return web.Response(status=503, text="<Error><Code>SlowDown</Code></Error>")
        if fault is Fault.SLOW:
            await asyncio.sleep(1)
        if fault is Fault.CUT_REQUEST:
            return self._hang_up(request)
        body = await request.content.read()  # request.read() has a limit
        if fault is Fault.WRONG_REQUEST and body:
            body = body[:-1] + bytes([body[-1] ^ 1])
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        url = URL(self.target + request.raw_path, encoded=True)
        async with self.session.request(
            request.method,
            url,
            headers=headers,
            data=io.BytesIO(body) if body else None,
            allow_redirects=False,
            skip_auto_headers={"Content-Type"},  # Azure's clients sign which there is, and that there is none
        ) as answer:
            if fault is Fault.LOSE_ANSWER:
                await answer.read()
                return self._hang_up(request)
            passed = web.StreamResponse(
                status=answer.status,
                headers={name: value for name, value in answer.headers.items() if name.lower() not in _HOP},
            )
            if request.method == "HEAD":
                await passed.prepare(request)
                return passed
            passed.content_length = answer.content_length
            await passed.prepare(request)
            async for piece in self._changed(answer, fault):
                await passed.write(piece)
            if fault is Fault.CUT_ANSWER and answer.content_length:
                return self._hang_up(request)
            await passed.write_eof()
            return passed

    async def _changed(self, answer: aiohttp.ClientResponse, fault: Fault) -> AsyncIterator[bytes]:
        half, sent = (answer.content_length or 0) // 2, 0
        async for piece in answer.content.iter_chunked(1 << 16):
            if fault is Fault.CUT_ANSWER and sent + len(piece) > half:
                yield piece[: half - sent]
                return
            wrong = fault is Fault.WRONG_ANSWER and sent == 0
            sent += len(piece)
            yield bytes([piece[0] ^ 1]) + piece[1:] if wrong else piece

    def _hang_up(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)
