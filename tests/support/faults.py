"""Faults of the way to an API server, and rules that say which requests meet them. Pure: no IO here."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

REASONS = {
    409: "Conflict",
    410: "Expired",  # what the API server calls a resourceVersion that is too old
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


def status_object(code: int, message: str, retry_after: int | None = None) -> dict[str, Any]:
    """A `metav1.Status` as the API server sends it."""
    details = {"details": {"retryAfterSeconds": retry_after}} if retry_after is not None else {}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": REASONS.get(code, "Unknown"),
        "code": code,
        **details,
    }


@dataclass(frozen=True)
class Delay:
    """Wait before the request goes on; later rules still apply to it."""

    seconds: float


@dataclass(frozen=True)
class Drop:
    """Close the connection: before the API server sees the request, after it acted, or amid its answer."""

    when: Literal["before", "after", "middle"] = "before"


@dataclass(frozen=True)
class Answer:
    """Answer in the API server's place with an error `Status`."""

    code: int
    message: str = "injected by the fault proxy"
    retry_after: int | None = None

    def body(self) -> bytes:
        """The answer's JSON."""
        return json.dumps(status_object(self.code, self.message, self.retry_after)).encode()


@dataclass(frozen=True)
class Blackhole:
    """Accept the request and never answer."""


@dataclass(frozen=True)
class ErrorEvent:
    """Send an ERROR event in a watch after so many real events, then end the watch as the API server does."""

    code: int = 410
    message: str = "too old resource version: injected by the fault proxy"
    after: int = 0

    def line(self) -> bytes:
        """The event as it is on the wire."""
        return (
            json.dumps({"type": "ERROR", "object": status_object(self.code, self.message)}).encode() + b"\n"
        )


Fault = Delay | Drop | Answer | Blackhole | ErrorEvent


@dataclass(frozen=True)
class Request:
    """What rules look at."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def watch(self) -> bool:
        """Whether it asks for a stream of changes."""
        return self.method == "GET" and self.query.get("watch", "") in ("true", "1")


@dataclass(frozen=True)
class Match:
    """Which requests: by method, a regular expression found in the path, watch or not, query values."""

    method: str | None = None
    path: str = ""
    watch: bool | None = None
    query: Mapping[str, str] = field(default_factory=dict)

    def matches(self, request: Request) -> bool:
        """Whether all that is given holds."""
        return (
            self.method in (None, request.method)
            and re.search(self.path, request.path) is not None
            and self.watch in (None, request.watch)
            and all(request.query.get(key) == value for key, value in self.query.items())
        )


class Rule:
    """A fault for the requests of a match, `times` times or until removed. Usable in a `with` statement."""

    def __init__(self, rules: Rules, match: Match, fault: Fault, times: int | None) -> None:
        if times is not None and times < 1:
            raise ValueError(f"times must be at least 1, not {times}")
        self._rules = rules
        self.match = match
        self.fault = fault
        self.left = times
        self.hits = 0

    def remove(self) -> None:
        """Let matching requests pass again."""
        self._rules.remove(self)

    def __enter__(self) -> Rule:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class Rules:
    """The rules of a proxy, in the order they were added; changed by a test while requests run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Rule] = []

    def add(self, fault: Fault, match: Match, times: int | None = None) -> Rule:
        """Add a rule behind the others."""
        rule = Rule(self, match, fault, times)
        with self._lock:
            self._rules.append(rule)
        return rule

    def remove(self, rule: Rule) -> None:
        """Remove a rule; one that is used up is gone already."""
        with self._lock:
            if rule in self._rules:
                self._rules.remove(rule)

    def clear(self) -> None:
        """Remove all rules."""
        with self._lock:
            self._rules.clear()

    def take(self, request: Request) -> list[Fault]:
        """The faults that a request meets: delays, then at most one that decides its end. Counts the uses."""
        met: list[Fault] = []
        with self._lock:
            for rule in list(self._rules):
                if not rule.match.matches(request):
                    continue
                rule.hits += 1
                if rule.left is not None:
                    rule.left -= 1
                    if rule.left == 0:
                        self._rules.remove(rule)
                met.append(rule.fault)
                if not isinstance(rule.fault, Delay):
                    break
        return met
