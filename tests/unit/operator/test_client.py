"""The client against a server that does what servers, proxies and pods do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from speechless_operator.runtime import client as client_module
from speechless_operator.runtime.client import ApiError, KubeClient
from speechless_operator.runtime.resources import CHILDREN, OURS
from tests.unit.operator.seen import run

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
JOBS, PODS = CHILDREN["Job"], CHILDREN["Pod"]


class Access:
    """The way to the test's server, with a token."""

    def __init__(self, server: str) -> None:
        self.server = server

    def authorization(self) -> str:
        return "Bearer secret"

    def ssl_context(self) -> None:
        return None


def served(handle: Handler, work: Callable[[KubeClient], Awaitable[None]]) -> list[web.Request]:
    """Let a client work against a handler; what it asked."""
    asked: list[web.Request] = []

    async def everything() -> None:
        async def noted(request: web.Request) -> web.StreamResponse:
            asked.append(request)
            await request.read()
            return await handle(request)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", noted)
        server = TestServer(app)
        await server.start_server()
        client = KubeClient(Access(str(server.make_url("")).rstrip("/")))  # type: ignore[arg-type]
        try:
            await work(client)
        finally:
            await client.close()
            await server.close()

    run(everything())
    return asked


def answers(*given: web.Response) -> Handler:
    """One after the other."""
    left = list(given)

    async def handle(_: web.Request) -> web.Response:
        return left.pop(0)

    return handle


async def refused(asking: Awaitable[Any]) -> ApiError:
    """The error that comes of it."""
    with pytest.raises(ApiError) as caught:
        await asking
    return caught.value


def test_a_redirect_is_not_followed_with_our_token() -> None:
    async def work(client: KubeClient) -> None:
        error = await refused(client.raw("/api/v1/namespaces/x/pods/y:9400/proxy/progress", limit=100))
        assert error.code == 302

    asked = served(answers(web.Response(status=302, headers={"Location": "/api/v1/secrets"})), work)
    assert [request.path for request in asked] == ["/api/v1/namespaces/x/pods/y:9400/proxy/progress"]


def test_of_what_a_pod_says_no_more_is_read_than_was_asked_for() -> None:
    async def work(client: KubeClient) -> None:
        assert len(await client.raw("/x", limit=1000)) == 1000

    served(answers(web.Response(body=b"x" * 3_000_000)), work)


def test_a_pod_that_says_429_is_not_asked_again() -> None:
    async def work(client: KubeClient) -> None:
        assert (await refused(client.raw("/x", limit=1000))).code == 429

    assert len(served(answers(web.Response(status=429, headers={"Retry-After": "9999"})), work)) == 1


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client waited, without waiting."""
    found: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        found.append(seconds)
        await real(0)

    monkeypatch.setattr(client_module, "sleep", sleep)
    return found


@pytest.mark.parametrize(
    ("header", "waited"), [("3", 3), ("9999", 10), ("", 1), ("Wed, 21 Oct 2026 07:28:00 GMT", 1)]
)
def test_patience_is_had_as_the_server_asks(waits: list[float], header: str, waited: float) -> None:
    async def work(client: KubeClient) -> None:
        assert (await client.get(JOBS, "demo", "a"))["metadata"] == {"name": "a"}

    busy = web.Response(status=429, headers={"Retry-After": header})
    asked = served(answers(busy, web.json_response({"metadata": {"name": "a"}})), work)
    assert len(asked) == 2
    assert waits == [waited]


def test_a_write_that_may_have_been_done_is_not_done_again(waits: list[float]) -> None:
    async def work(client: KubeClient) -> None:
        obj = {"kind": "Job", "metadata": {"name": "a", "namespace": "demo"}}
        assert (await refused(client.apply(obj))).code == 503

    assert len(served(answers(web.Response(status=503, headers={"Retry-After": "1"})), work)) == 1
    assert waits == []


def test_an_error_has_the_servers_own_message() -> None:
    async def work(client: KubeClient) -> None:
        error = await refused(client.get(JOBS, "demo", "a"))
        assert (error.code, error.message, error.reason) == (403, "no", "Forbidden")
        error = await refused(client.get(JOBS, "demo", "a"))
        assert (error.code, error.message) == (502, "<html>bad \ufffd gateway</html>")

    status = {"kind": "Status", "message": "no", "reason": "Forbidden"}
    served(
        answers(
            web.json_response(status, status=403),
            web.Response(status=502, body=b"<html>bad \xff gateway</html>"),
        ),
        work,
    )


@pytest.mark.parametrize("body", [b"<html>a portal</html>", b"", b"[]", b"\xff"])
def test_what_something_else_answers_in_the_servers_place_is_no_object(body: bytes) -> None:
    async def work(client: KubeClient) -> None:
        error = await refused(client.get(JOBS, "demo", "a"))
        assert error.code == 0
        assert "the answer is not" in error.message

    served(answers(web.Response(body=body)), work)


def test_a_log_is_text_whatever_was_printed() -> None:
    async def work(client: KubeClient) -> None:
        assert await client.log("demo", "p", "stage", previous=False, lines=20) == "gr\ufffdn 42%|"

    asked = served(answers(web.Response(body=b"\x88gr\xfcn 42%|\xe2\x96")), work)
    assert asked[0].query["limitBytes"] == "65536"


def test_a_list_comes_page_by_page_narrowed_by_the_server() -> None:
    async def work(client: KubeClient) -> None:
        found, version = await client.list(PODS, "demo", labels="a=b")
        assert [obj["metadata"]["name"] for obj in found] == ["p", "q"]
        assert {obj["kind"] for obj in found} == {"Pod"}
        assert version == 9

    first = {"metadata": {"resourceVersion": "9", "continue": "more"}, "items": [{"metadata": {"name": "p"}}]}
    last = {"metadata": {"resourceVersion": "9"}, "items": [{"metadata": {"name": "q"}}]}
    asked = served(answers(web.json_response(first), web.json_response(last)), work)
    assert [request.query.get("continue") for request in asked] == [None, "more"]
    assert asked[1].query["limit"] == "50"
    assert asked[1].query["labelSelector"] == "app.kubernetes.io/managed-by=speechless-operator,a=b"


def test_a_watch_gives_what_has_come_and_keeps_half_a_line() -> None:
    lines = [json.dumps({"type": "ADDED", "object": {"metadata": {"name": n}}}) + "\n" for n in "abc"]
    text = "".join(lines).encode()

    async def handle(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for part in (text[:70], text[70:75], text[75:]):
            await answer.write(part)
            await asyncio.sleep(0)
        return answer

    async def work(client: KubeClient) -> None:
        names: list[str] = []
        async with aclosing(client.watch(OURS["FineTune"], None, 5, seconds=60, silence=10)) as events:
            async for batch in events:
                names += [obj["metadata"]["name"] for _, obj in batch]
        assert names == ["a", "b", "c"]

    asked = served(handle, work)
    assert asked[0].query["resourceVersion"] == "5"
    assert asked[0].query["allowWatchBookmarks"] == "true"


def test_a_watch_that_is_refused_or_makes_no_sense_is_an_error_one_that_is_silent_ends() -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        if request.query["resourceVersion"] == "1":
            return web.json_response({"message": "too old"}, status=410)
        answer = web.StreamResponse()
        await answer.prepare(request)
        if request.query["resourceVersion"] == "2":
            await answer.write(b"<html>\n")
        else:
            await asyncio.sleep(5)
        return answer

    async def work(client: KubeClient) -> None:
        codes = []
        for version in (1, 2):
            with pytest.raises(ApiError) as caught:
                async for _ in client.watch(JOBS, None, version, seconds=60, silence=10):
                    pass
            codes.append(caught.value.code)
        assert codes == [410, 0]
        assert [batch async for batch in client.watch(JOBS, None, 3, seconds=60, silence=0.5)] == [[]]

    served(handle, work)


def test_a_page_of_what_anybody_may_fill_is_small() -> None:
    """500 ConfigMaps may be 500 MiB; our own kinds have limits, and bare metadata is small."""

    async def work(client: KubeClient) -> None:
        for resource, bare in (
            (CHILDREN["ConfigMap"], False),
            (CHILDREN["ConfigMap"], True),
            (OURS["FineTune"], False),
        ):
            assert [page async for page in client.pages(resource, metadata_only=bare)]

    empty = [web.json_response({"metadata": {"resourceVersion": "1"}, "items": []}) for _ in range(3)]
    asked = served(answers(*empty), work)
    assert [request.query["limit"] for request in asked] == ["50", "500", "500"]
