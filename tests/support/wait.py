"""Waiting for the cluster: polls with a deadline, and a message that says what was seen when it passes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from tests.support.explain import condition, explain
from tests.support.kube import Kube, Object

T = TypeVar("T")

INTERVAL = 0.1  # seconds; an API server on the same machine answers a GET in a few milliseconds


class WaitError(AssertionError):
    """What was waited for did not come, or can no longer come."""


def wait_for(
    predicate: Callable[[], T | None],
    what: str,
    *,
    timeout: float = 30,
    interval: float = INTERVAL,
    describe: Callable[[], str] | None = None,
) -> T:
    """Call `predicate` until it returns something true, and return that.

    An exception from `predicate` ends the wait: a failing API call is a failing test, unless the predicate
    itself expects it.

    Raises:
        WaitError: `timeout` seconds passed; the message has the last value and what `describe` says.
    """
    deadline = time.monotonic() + timeout
    while True:
        # The clock is read before the look: whatever is true at the deadline is still seen once.
        last_look = time.monotonic() >= deadline
        value = predicate()
        if value:
            return value
        if last_look:
            seen = describe() if describe else f"last value: {value!r}"
            raise WaitError(f"waited {timeout:g} s for {what}\n{seen}")
        time.sleep(interval)


def wait_condition(
    kube: Kube,
    kind: str,
    name: str,
    namespace: str | None,
    type_: str,
    status: str = "True",
    *,
    reason: str | None = None,
    unless: str | None = None,
    timeout: float = 60,
) -> Object:
    """Wait until an object, which may not exist yet, has a condition, and return the object.

    `unless` names a condition that ends the wait at once when it is True: a Job that failed never completes.
    """
    what = f"{kind} {namespace or ''}/{name} to have {type_}={status}" + (f" ({reason})" if reason else "")

    def look() -> Object | None:
        obj = kube.find(kind, name, namespace)
        seen = condition(obj, type_)
        if seen and seen["status"] == status and reason in (None, seen.get("reason")):
            return obj
        ended = condition(obj, unless) if unless else None
        if ended and ended["status"] == "True":
            raise WaitError(f"waited for {what}, but {unless}=True\n{explain(kube, kind, name, namespace)}")
        return None

    return wait_for(look, what, timeout=timeout, describe=lambda: explain(kube, kind, name, namespace))


def wait_object(
    kube: Kube,
    kind: str,
    name: str,
    namespace: str | None,
    ready: Callable[[Object], object],
    what: str,
    *,
    timeout: float = 60,
) -> Object:
    """Wait until an object exists and `ready` is true of it, and return it."""

    def look() -> Object | None:
        obj = kube.find(kind, name, namespace)
        return obj if obj is not None and ready(obj) else None

    described = f"{kind} {namespace or ''}/{name} {what}"
    return wait_for(look, described, timeout=timeout, describe=lambda: explain(kube, kind, name, namespace))


def wait_gone(kube: Kube, kind: str, name: str, namespace: str | None = None, *, timeout: float = 60) -> None:
    """Wait until an object no longer exists."""
    wait_for(
        lambda: kube.find(kind, name, namespace) is None,
        f"{kind} {namespace or ''}/{name} to be gone",
        timeout=timeout,
        describe=lambda: explain(kube, kind, name, namespace),
    )


def wait_job(kube: Kube, name: str, namespace: str, *, timeout: float = 60) -> Object:
    """Wait until a Job has completed; a failed one ends the wait at once."""
    return wait_condition(kube, "Job", name, namespace, "Complete", unless="Failed", timeout=timeout)


def wait_pod(
    kube: Kube, name: str, namespace: str, phase: str = "Succeeded", *, timeout: float = 60
) -> Object:
    """Wait until a pod is in a phase; one that ended otherwise ends the wait at once."""

    def there(pod: Object) -> bool:
        seen = pod.get("status", {}).get("phase")
        if seen != phase and seen in {"Succeeded", "Failed"}:
            told = explain(kube, "Pod", name, namespace)
            raise WaitError(f"waited for Pod {namespace}/{name} to be {phase}, but it {seen.lower()}\n{told}")
        return bool(seen == phase)

    return wait_object(kube, "Pod", name, namespace, there, f"to be {phase}", timeout=timeout)


def wait_log(kube: Kube, pod: str, namespace: str, text: str, *, timeout: float = 30) -> str:
    """Wait until a running pod's log has a text, and return the log."""
    wait_pod(kube, pod, namespace, "Running", timeout=timeout)

    def look() -> str:
        log = kube.logs(pod, namespace)
        return log if text in log else ""

    what = f"{text!r} in the log of {namespace}/{pod}"
    return wait_for(look, what, timeout=timeout, describe=lambda: explain(kube, "Pod", pod, namespace))


def wait_pods(kube: Kube, namespace: str, labels: str, count: int, *, timeout: float = 30) -> list[Object]:
    """Wait until exactly `count` pods match a label selector, and return them."""
    last: list[list[Object]] = []

    def look() -> bool:
        last[:] = [kube.list("Pod", namespace, labels=labels)]
        return len(last[0]) == count

    def describe() -> str:
        names = [f"{pod['metadata']['name']} ({pod['status'].get('phase')})" for pod in last[0]]
        return f"last seen: {names or 'none'}"

    wait_for(look, f"{count} pods with {labels} in {namespace}", timeout=timeout, describe=describe)
    return last[0]
