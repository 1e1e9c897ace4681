"""One HTTP request to an API server and its answer, with the API's own message in every error."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

import urllib3

from tests.support.access import Access

Object = dict[str, Any]


class ApiError(Exception):
    """An answer of the API server that is not a success, told by the `Status` it sent."""

    def __init__(
        self, code: int, status: Object, request: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self.code = code
        self.status = status
        self.request = request
        self.headers = dict(headers or {})
        super().__init__(f"{request}: {code} {self.reason}: {self.message}")

    @property
    def reason(self) -> str:
        """The machine-readable reason, such as `NotFound`."""
        return str(self.status.get("reason", ""))

    @property
    def message(self) -> str:
        """The message for people."""
        return str(self.status.get("message", ""))

    @property
    def causes(self) -> list[tuple[str, str]]:
        """The (field, message) pairs of a validation error."""
        causes = (self.status.get("details") or {}).get("causes") or []
        return [(cause.get("field", ""), cause.get("message", "")) for cause in causes]


class WatchError(ApiError):
    """An ERROR event inside a watch that had begun with 200."""


def _status_of(data: bytes) -> Object:
    """The `Status` in an error's body, or one made of its text: proxies and etcd answer in prose."""
    try:
        status = json.loads(data)
    except ValueError:
        return {"message": data.decode(errors="replace").strip()}
    return status if isinstance(status, dict) else {"message": str(status)}


class Rest:
    """Requests of one user to one API server, never retried. Thread-safe, like the pool below it."""

    def __init__(self, access: Access, *, timeout: float = 30) -> None:
        self.access = access
        self.timeout = timeout
        self._pool = access.pool()

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        *,
        accept: str = "application/json",
        content_type: str = "application/json",
        timeout: float | None = None,
        stream: bool = False,
    ) -> urllib3.BaseHTTPResponse:
        given = {
            k: str(v).lower() if isinstance(v, bool) else v for k, v in (query or {}).items() if v is not None
        }
        url = self.access.server + path + (f"?{urlencode(given)}" if given else "")
        headers = self.access.headers() | {"Accept": accept}
        if body is not None:
            headers["Content-Type"] = content_type
        response = self._pool.request(
            method,
            url,
            # JSON is YAML: an apply patch can be sent as it is.
            body=None if body is None else json.dumps(body).encode(),
            headers=headers,
            timeout=urllib3.Timeout(connect=self.timeout, read=timeout or self.timeout),
            retries=False,
            preload_content=not stream,
        )
        if response.status >= 300:
            raise ApiError(response.status, _status_of(response.data), f"{method} {path}", response.headers)
        return response

    def request(self, method: str, path: str, query: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Send one request and decode its JSON answer.

        Raises:
            ApiError: The server answered, and not with a success.
            urllib3.exceptions.HTTPError: There was no complete answer.
        """
        return json.loads(self._send(method, path, query, **options).data)

    def text(self, path: str, query: Mapping[str, Any] | None = None) -> str:
        """GET a plain text answer: logs, health, metrics."""
        return self._send("GET", path, query, accept="*/*").data.decode(errors="replace")

    def lines(self, path: str, query: Mapping[str, Any] | None = None, *, seconds: float) -> Iterator[bytes]:
        """The lines of a streamed answer, each as soon as it is complete; `seconds` of silence are an error."""
        response = self._send("GET", path, query, timeout=seconds, stream=True)
        try:
            pending = b""
            for chunk in response.stream(amt=None):
                *complete, pending = (pending + chunk).split(b"\n")
                yield from (line for line in complete if line)
        finally:
            response.close()
