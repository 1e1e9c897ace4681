"""A thin client of the API server: dicts in and out, every error with the server's own message."""

from __future__ import annotations

import logging
import time
from asyncio import sleep
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from speechless_operator.api.kinds import GROUP
from speechless_operator.desired.objects import MANAGER, Object
from speechless_operator.runtime import metrics
from speechless_operator.runtime.access import Access
from speechless_operator.runtime.limiter import Lane, Limiter
from speechless_operator.runtime.resources import CHILDREN, OURS, Resource
from speechless_operator.runtime.wire import decode, encode, text_of

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
PROGRESS_MANAGER = "speechless-progress"
PAGE, PAGE_OF_OTHERS = 500, 50
"""Objects in one answer to a list: of ours, whose fields have limits, and of bare metadata; of other kinds, which
anybody may fill with a megabyte each."""
LOG_LIMIT = 65_536
PROGRESS_SHARE = 5
"""Of a limited client, progress gets at most one in this many requests."""
_JSON = "application/json"
_METADATA = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1,application/json"
_TOO_MANY, _UNAVAILABLE = 429, 503
_TRIES = 4
_LONGEST_WAIT = 10.0
_CHUNK = 1 << 20
_log = logging.getLogger(__name__)
_KINDS = OURS | CHILDREN


class ApiError(Exception):
    """The API server said no; `code` is 0 when it did not answer."""

    def __init__(
        self, code: int, message: str, what: str, *, reason: str = "", retry_after: float = 0.0
    ) -> None:
        """Keep the parts; the text has all of them."""
        super().__init__(f"{what}: {code or 'no answer'} {message}")
        self.code, self.message, self.reason, self.retry_after = code, message, reason, retry_after


@dataclass(frozen=True)
class Page:
    """Some objects of a list, and of which version the whole list is."""

    items: list[Object]
    version: int


Events = list[tuple[str, Object]]
"""Of a watch: type and object."""


class KubeClient:
    """A client of one API server."""

    def __init__(
        self, access: Access, *, qps: float = 0, burst: int = 200, timeout: float = 30, connections: int = 64
    ) -> None:
        """With `qps`, requests wait for their turn when there are more a second; 0: the server's own limits do."""
        self._access = access
        self._limiter = Limiter(qps, burst)
        self._progress = Limiter(qps / PROGRESS_SHARE, burst // PROGRESS_SHARE)
        tls = access.ssl_context() or False
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls, limit=connections),
            timeout=aiohttp.ClientTimeout(total=timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        # A watch holds its connection: it takes none away from requests.
        self._watches = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls, limit=0),
            read_bufsize=_CHUNK,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()
        await self._watches.close()

    # -- reading --------------------------------------------------------------------------------------------------

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """One object, as it is now."""
        return _with_kind(await self._json("GET", resource.path(namespace, name)), resource)

    async def list(
        self, resource: Resource, namespace: str | None = None, *, labels: str | None = None
    ) -> tuple[list[Object], int]:
        """Objects of a kind as they are now, and of which version; `labels` narrows what is watched of it."""
        found: list[Object] = []
        version = 0
        async for page in self.pages(resource, namespace, labels=labels):
            found += page.items
            version = page.version
        return found, version

    async def pages(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str | None = None,
        metadata_only: bool = False,
    ) -> AsyncIterator[Page]:
        """The same page by page, so that a long list is never whole in memory.

        Raises:
            ApiError: 410 when the list grew too old between two pages: begin anew.
        """
        small = metadata_only or resource.group == GROUP
        query = _selected(resource, labels) | {"limit": str(PAGE if small else PAGE_OF_OTHERS)}
        accept = _METADATA.format("List") if metadata_only else _JSON
        while True:
            answer = await self._json("GET", resource.path(namespace), query, accept=accept)
            meta = answer.get("metadata") or {}
            items = [_with_kind(item, resource) for item in answer.get("items") or []]
            yield Page(items, int(meta.get("resourceVersion") or 0))
            if not meta.get("continue"):
                return
            query = query | {"continue": meta["continue"]}

    async def watch(
        self, resource: Resource, namespace: str | None, version: int, *, seconds: int, silence: float
    ) -> AsyncGenerator[Events, None]:
        """Events since `version`, as many at a time as have arrived: (type, object), bookmarks and errors, too.

        The first batch is empty: the server has accepted. Ends when the server ends it, `seconds` after the beginning,
        or when nothing has come for `silence` seconds: a dead connection, or a kind of which there never was an object,
        for which an API server sends no bookmarks.

        Raises:
            ApiError: It was refused, or broke.
        """
        query = _selected(resource, None) | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": str(version),
            "timeoutSeconds": str(seconds),
        }
        path = resource.path(namespace)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=silence)
        accepted = False
        try:
            async with self._watches.get(
                self._access.server + path,
                params=query,
                headers=self._headers(_JSON),
                timeout=timeout,
                allow_redirects=False,
            ) as answer:
                metrics.REQUESTS.labels("WATCH", str(answer.status)).inc()
                if answer.status != 200:
                    raise _error(
                        answer.status,
                        await answer.content.read(_CHUNK),
                        f"WATCH {path}",
                        _seconds(answer.headers.get("Retry-After")),
                    )
                accepted = True
                yield []
                rest = b""
                async for chunk in answer.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    if events := [_event(line, resource) for line in lines if line]:
                        yield events
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            if accepted and isinstance(error, TimeoutError):
                return
            raise ApiError(0, f"{type(error).__name__}: {error}", f"WATCH {path}") from error

    async def log(self, namespace: str, pod: str, container: str, *, previous: bool, lines: int) -> str:
        """The end of a container's log, as text whatever was printed."""
        query = {"container": container, "tailLines": str(lines), "limitBytes": str(LOG_LIMIT)}
        if previous:
            query["previous"] = "true"
        path = CHILDREN["Pod"].path(namespace, pod, "log")
        return text_of(await self._bytes("GET", path, query, accept="*/*", limit=LOG_LIMIT))

    async def discover(self, path: str) -> Object:
        """What is served of a group and version."""
        return await self._json("GET", path)

    async def metadata(self, path: str) -> Object:
        """The metadata of the object at a path."""
        answer = await self._json("GET", path, accept=_METADATA.format(""))
        found: Object = answer.get("metadata") or {}
        return found

    async def raw(self, path: str, *, limit: int) -> bytes:
        """What a pod answers through the API server: `limit` bytes of it at most."""
        # Once: the pod may answer 429, too, and is not asked with more patience for it.
        return await self._bytes("GET", path, accept="*/*", limit=limit, lane=Lane.PROGRESS, tries=1)

    # -- writing --------------------------------------------------------------------------------------------------

    async def apply(self, obj: Object) -> Object:
        """Apply a child server-side as the operator. What others set beside it stays."""
        resource, meta = _KINDS[obj["kind"]], obj["metadata"]
        path = resource.path(meta["namespace"], meta["name"])
        return _with_kind(await self._json("PATCH", path, _applying(MANAGER), obj, APPLY), resource)

    async def apply_status(
        self, obj: Object, status: Object, manager: str = MANAGER, *, lane: Lane = Lane.WORK
    ) -> Object:
        """Apply the status of `obj`, if nobody has written it since: a stale one is a conflict (409)."""
        resource, meta = _KINDS[obj["kind"]], obj["metadata"]
        body = {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {
                "name": meta["name"],
                "namespace": meta["namespace"],
                "resourceVersion": meta["resourceVersion"],
            },
            "status": status,
        }
        path = resource.path(meta["namespace"], meta["name"], "status")
        answer = await self._json("PATCH", path, _applying(manager), body, APPLY, lane=lane)
        return _with_kind(answer, resource)

    async def patch(
        self, resource: Resource, namespace: str, name: str, body: Object, *, lane: Lane = Lane.WORK
    ) -> Object:
        """Merge some fields into an object."""
        query = {"fieldManager": MANAGER}
        path = resource.path(namespace, name)
        return _with_kind(await self._json("PATCH", path, query, body, MERGE, lane=lane), resource)

    async def create(
        self, resource: Resource, namespace: str, obj: Object, *, lane: Lane = Lane.WORK
    ) -> Object:
        """Create an object."""
        query = {"fieldManager": MANAGER}
        answer = await self._json("POST", resource.path(namespace), query, obj, lane=lane)
        return _with_kind(answer, resource)

    async def replace(self, resource: Resource, namespace: str, obj: Object) -> Object:
        """Replace an object, if nobody has written it since."""
        path = resource.path(namespace, obj["metadata"]["name"])
        return _with_kind(await self._json("PUT", path, {"fieldManager": MANAGER}, obj), resource)

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        """Delete this very object, what it owns after it; one that is gone already is fine."""
        body: Object = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid},
        }
        try:
            await self._json("DELETE", resource.path(namespace, name), None, body)
        except ApiError as error:
            if error.code != 404:
                raise

    # -- the wire -------------------------------------------------------------------------------------------------

    async def _json(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = _JSON,
        *,
        accept: str = _JSON,
        lane: Lane = Lane.WORK,
    ) -> Object:
        raw = await self._bytes(method, path, query, body, content_type, accept=accept, lane=lane)
        try:
            answer = decode(raw)
        except ValueError as error:  # something between us and the API server answers in its place
            raise ApiError(0, f"the answer is not JSON: {raw[:80]!r}", f"{method} {path}") from error
        if not isinstance(answer, dict):
            raise ApiError(0, f"the answer is not an object: {raw[:80]!r}", f"{method} {path}")
        return answer

    async def _bytes(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = _JSON,
        *,
        accept: str,
        lane: Lane = Lane.WORK,
        limit: int | None = None,
        tries: int = _TRIES,
    ) -> bytes:
        """Send; when the server asks for patience and nothing was done, have it and send again."""
        data = None if body is None else encode(body)
        headers = self._headers(accept) | ({} if data is None else {"Content-Type": content_type})
        for left in reversed(range(tries)):
            if lane is Lane.PROGRESS:
                await self._progress.acquire(lane)
            await self._limiter.acquire(lane)
            code, raw, retry_after = await self._send(method, path, query, data, headers, limit)
            if 200 <= code < 300:
                return raw
            # 429 means that nothing was done; a 503 may have done something, and only reading may be done twice.
            patient = code == _TOO_MANY or (code == _UNAVAILABLE and method == "GET" and retry_after > 0)
            if not patient or not left:
                raise _error(code, raw, f"{method} {path}", retry_after)
            await sleep(min(retry_after or 1.0, _LONGEST_WAIT))
        raise AssertionError("unreachable")

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        data: bytes | None,
        headers: Mapping[str, str],
        limit: int | None,
    ) -> tuple[int, bytes, float]:
        began = time.monotonic()
        try:
            # Redirects are not followed: what the operator may do is nobody else's to use.
            async with self._session.request(
                method,
                self._access.server + path,
                params=query,
                data=data,
                headers=headers,
                allow_redirects=False,
            ) as answer:
                raw = await (answer.read() if limit is None else _at_most(answer.content, limit))
                code, retry_after = answer.status, _seconds(answer.headers.get("Retry-After"))
        except (aiohttp.ClientError, TimeoutError) as error:
            metrics.REQUESTS.labels(method, "0").inc()
            raise ApiError(0, f"{type(error).__name__}: {error}", f"{method} {path}") from error
        metrics.REQUESTS.labels(method, str(code)).inc()
        metrics.REQUEST_SECONDS.labels(method).observe(time.monotonic() - began)
        return code, raw, retry_after

    def _headers(self, accept: str) -> dict[str, str]:
        headers = {"Accept": accept}
        if authorization := self._access.authorization():
            headers["Authorization"] = authorization
        return headers


async def _at_most(content: aiohttp.StreamReader, limit: int) -> bytes:
    """As much as there is, up to a limit; `read(n)` alone may return less."""
    found = bytearray()
    while len(found) < limit and (chunk := await content.read(limit - len(found))):
        found += chunk
    return bytes(found)


def _selected(resource: Resource, labels: str | None) -> dict[str, str]:
    query = {}
    if chosen := ",".join(part for part in (resource.labels, labels) if part):
        query["labelSelector"] = chosen
    if resource.fields:
        query["fieldSelector"] = resource.fields
    return query


def _applying(manager: str) -> dict[str, str]:
    return {"fieldManager": manager, "force": "true"}


def _seconds(retry_after: str | None) -> float:
    """The header Retry-After; 0 where it is not there, or a date."""
    return float(retry_after) if retry_after and retry_after.strip().isdigit() else 0.0


def _error(code: int, raw: bytes, what: str, retry_after: float = 0.0) -> ApiError:
    text = raw[:65_536].decode("utf-8", "replace")
    try:
        status = decode(text.encode())
        message, reason = str(status.get("message", text)), str(status.get("reason", ""))
    except (ValueError, AttributeError):
        message, reason = text[:500], ""
    return ApiError(code, message, what, reason=reason, retry_after=retry_after)


def _event(line: bytes, resource: Resource) -> tuple[str, Object]:
    event: Any = decode(line)
    kind, obj = str(event["type"]), event["object"]
    return kind, obj if kind == "ERROR" else _with_kind(obj, resource)


def _with_kind(obj: Object, resource: Resource) -> Object:
    """Items of a list do not say what they are; a list of metadata says that they are metadata."""
    return obj | {"apiVersion": resource.api_version, "kind": resource.kind}
