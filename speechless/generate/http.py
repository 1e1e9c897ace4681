"""Ask a server for JSON, with the standard library alone."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""For servers of this machine: a proxy of the environment must not come between."""
_USUAL = urllib.request.build_opener()


class NoAnswerError(Exception):
    """The server could not be reached, or the connection broke."""


def ask(
    url: str,
    body: Mapping[str, Any] | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    timeout: float,
    direct: bool = False,
) -> tuple[int, str]:
    """Status and text of the answer to a POST of JSON (without a body: a GET). `NoAnswerError` where there is none."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **(headers or {})})
    try:
        with (_DIRECT if direct else _USUAL).open(request, timeout=timeout) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode(errors="replace")
    except (OSError, urllib.error.URLError) as problem:
        raise NoAnswerError(str(problem)) from problem
