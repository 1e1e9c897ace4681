"""A thin client of the API server: dicts in and out, every error with the server's own message, a limit on the rate."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Any

import aiohttp

from speechless_operator.desired.objects import MANAGER, Object
from speechless_operator.runtime import metrics
from speechless_operator.runtime.access import Access
from speechless_operator.runtime.limiter import Limiter
from speechless_operator.runtime.resources import WATCHED, Resource

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
PROGRESS_MANAGER = "speechless-progress"
_TOO_MANY = 429
_TRIES = 4
_LONGEST_WAIT = 10.0
_log = logging.getLogger(__name__)


class ApiError(Exception):
    """The API server said no; `code` is 0 when it did not answer."""

    def __init__(self, code: int, message: str, what: str, *, reason: str = "") -> None:
        """Keep the parts; the text has all of them."""
        super().__init__(f"{what}: {code or 'no answer'} {message}")
        self.code, self.message, self.reason = code, message, reason


class KubeClient:
    """A client of one API server."""

    def __init__(self, access: Access, *, qps: float = 100, burst: int = 200, timeout: float = 30) -> None:
        """Requests wait for their turn when there are more than `qps` a second."""
        self._access = access
        self._limiter = Limiter(qps, burst)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=access.ssl_context() or False, limit=32),
            timeout=aiohttp.ClientTimeout(total=timeout),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    # -- reading --------------------------------------------------------------------------------------------------

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """One object, as it is now."""
        return _with_kind(await self._json("GET", resource.path(namespace, name)), resource)

    async def list(self, resource: Resource, namespace: str | None = None) -> tuple[list[Object], int]:
        """What is watched of a kind, and of which version: from the API server's cache, as fresh as a watch."""
        query = {"resourceVersion": "0"}
        if resource.labels:
            query["labelSelector"] = resource.labels
        if resource.fields:
            query["fieldSelector"] = resource.fields
        answer = await self._json("GET", resource.path(namespace), query)
        return [_with_kind(item, resource) for item in answer["items"]], int(
            answer["metadata"]["resourceVersion"]
        )

    async def log(self, namespace: str, pod: str, container: str, *, previous: bool, lines: int) -> str:
        """The end of a container's log."""
        query = {"container": container, "tailLines": str(lines), "limitBytes": "65536"}
        if previous:
            query["previous"] = "true"
        return await self._text("GET", WATCHED["Pod"].path(namespace, pod, "log"), query)

    async def discover(self, path: str) -> Object:
        """What is served of a group and version."""
        return await self._json("GET", path)

    async def raw(self, path: str) -> str:
        """The text at a path of the API server."""
        return await self._text("GET", path)

    # -- writing --------------------------------------------------------------------------------------------------

    async def apply(self, obj: Object) -> Object:
        """Apply a child server-side as the operator. What others set beside it stays."""
        resource, meta = WATCHED[obj["kind"]], obj["metadata"]
        path = resource.path(meta["namespace"], meta["name"])
        return _with_kind(await self._json("PATCH", path, _applying(MANAGER), obj, APPLY), resource)

    async def apply_status(self, obj: Object, status: Object, manager: str = MANAGER) -> Object:
        """Apply the status of `obj`, if nobody has written it since: a stale one is a conflict (409)."""
        resource, meta = WATCHED[obj["kind"]], obj["metadata"]
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
        return _with_kind(await self._json("PATCH", path, _applying(manager), body, APPLY), resource)

    async def patch(self, resource: Resource, namespace: str, name: str, body: Object) -> Object:
        """Merge some fields into an object."""
        query = {"fieldManager": MANAGER}
        path = resource.path(namespace, name)
        return _with_kind(await self._json("PATCH", path, query, body, MERGE), resource)

    async def create(self, resource: Resource, namespace: str, obj: Object) -> Object:
        """Create an object."""
        query = {"fieldManager": MANAGER}
        return _with_kind(await self._json("POST", resource.path(namespace), query, obj), resource)

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
        content_type: str = "application/json",
    ) -> Object:
        answer: Object = json.loads(await self._text(method, path, query, body, content_type))
        return answer

    async def _text(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> str:
        """Send; when the server asks for patience (429), have it."""
        data = None if body is None else json.dumps(body)
        for left in reversed(range(_TRIES)):
            await self._limiter.acquire()
            code, text, retry_after = await self._send(method, path, query, data, content_type)
            metrics.REQUESTS.labels(method, str(code)).inc()
            if code < 400:
                return text
            if code != _TOO_MANY or not left:
                raise _error(code, text, f"{method} {path}")
            await asyncio.sleep(min(retry_after, _LONGEST_WAIT))
        raise AssertionError("unreachable")

    async def _send(
        self, method: str, path: str, query: Mapping[str, str] | None, data: str | None, content_type: str
    ) -> tuple[int, str, float]:
        headers = {"Accept": "application/json, */*", "Content-Type": content_type}
        if authorization := self._access.authorization():
            headers["Authorization"] = authorization
        url = self._access.server + path
        try:
            async with self._session.request(method, url, params=query, data=data, headers=headers) as answer:
                return answer.status, await answer.text(), float(answer.headers.get("Retry-After", 1))
        except (aiohttp.ClientError, TimeoutError) as error:
            metrics.REQUESTS.labels(method, "0").inc()
            raise ApiError(0, f"{type(error).__name__}: {error}", f"{method} {path}") from error


def _applying(manager: str) -> dict[str, str]:
    return {"fieldManager": manager, "force": "true"}


def _error(code: int, text: str, what: str) -> ApiError:
    try:
        status = json.loads(text)
        return ApiError(code, str(status.get("message", text)), what, reason=str(status.get("reason", "")))
    except (ValueError, AttributeError):
        return ApiError(code, text[:500], what)


def _with_kind(obj: Object, resource: Resource) -> Object:
    """Items of a list do not say what they are."""
    added: dict[str, Any] = {"apiVersion": resource.api_version, "kind": resource.kind}
    return added | obj
