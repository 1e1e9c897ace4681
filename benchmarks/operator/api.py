"""A bare client of the API server: the least that Python can do, to measure with and to be measured against."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

from tests.support.access import Access

Object = dict[str, Any]
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
GROUP = "/apis/speechless.dev/v1alpha1"
_PAGE = 500


class RefusedError(Exception):
    """The API server said no."""


class Api:
    """One user's connections to one API server, kept open as the operator keeps its own."""

    def __init__(self, kubeconfig: Path, *, connections: int = 32) -> None:
        """Nothing is sent before the first call."""
        access = Access.from_kubeconfig(kubeconfig, direct=True)
        self._server = access.server
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=access.ssl_context(), limit=connections),
            timeout=aiohttp.ClientTimeout(total=60),
            read_bufsize=1 << 22,  # a line of a watch is an object
        )

    async def __aenter__(self) -> Api:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def text(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        *,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> str:
        """The answer to one request.

        Raises:
            RefusedError: It is not a success.
        """
        data = None if body is None else json.dumps(body)
        headers = {"Accept": "application/json, */*", "Content-Type": content_type}
        async with self._session.request(
            method, self._server + path, params=query, data=data, headers=headers
        ) as answer:
            told = await answer.text()
            if answer.status >= 400:
                raise RefusedError(f"{method} {path}: {answer.status} {told[:300]}")
            return told

    async def call(self, method: str, path: str, body: Object | None = None, **options: Any) -> Object:
        """One request and its JSON answer."""
        found: Object = json.loads(await self.text(method, path, body, **options))
        return found

    async def apply(self, path: str, body: Object, manager: str) -> Object:
        """Server-side apply, as the operator does it."""
        query = {"fieldManager": manager, "force": "true"}
        return await self.call("PATCH", path, body, content_type=APPLY, query=query)

    async def count(self, path: str) -> int:
        """How many objects a collection has."""
        found = await self.call("GET", path, query={"limit": "1"})
        return len(found["items"]) + int(found["metadata"].get("remainingItemCount", 0))

    async def items(self, path: str, **query: str) -> AsyncIterator[Object]:
        """Every object of a collection, a page at a time."""
        asked = {"limit": str(_PAGE), **query}
        while True:
            found = await self.call("GET", path, query=asked)
            for item in found["items"]:
                yield item
            if not (more := found["metadata"].get("continue")):
                return
            asked = {"limit": str(_PAGE), **query, "continue": more}

    async def version(self, path: str) -> str:
        """The version of a collection now: where a watch begins."""
        found = await self.call("GET", path, query={"limit": "1"})
        return str(found["metadata"]["resourceVersion"])

    async def watch(self, path: str, version: str) -> AsyncIterator[Object]:
        """What happens to a collection after a version, until the reader has seen enough."""
        query = {"watch": "true", "resourceVersion": version}
        timeout = aiohttp.ClientTimeout(total=None)
        async with self._session.get(self._server + path, params=query, timeout=timeout) as answer:
            answer.raise_for_status()
            async for line in answer.content:
                event: Object = json.loads(line)
                if event["type"] == "ERROR":
                    raise RefusedError(f"watch of {path}: {event['object']}")
                yield event


def collection(namespace: str, plural: str = "finetunes") -> str:
    """The path of a kind in a namespace."""
    base = {"finetunes": GROUP, "jobs": "/apis/batch/v1"}.get(plural, "/api/v1")
    return f"{base}/namespaces/{namespace}/{plural}"
