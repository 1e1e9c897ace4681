"""The Lease's thread: it renews while the work's loop is busy, gives up with it, and ends what does not end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from speechless_operator.desired.objects import Object
from speechless_operator.runtime import leadership as module
from speechless_operator.runtime import lease as lease_module
from speechless_operator.runtime.client import ApiError
from speechless_operator.runtime.leadership import Leadership
from speechless_operator.runtime.lease import LeaseLostError
from tests.unit.operator.seen import run

PATIENCE = 60.0
"""Seconds after which something does not happen any more: nothing here takes one."""


class Server:
    """Keeps a Lease; a client of it is made in the thread."""

    def __init__(self) -> None:
        self.lease: Object | None = None
        self.renewals, self.closed = 0, False

    async def get(self, resource: Any, namespace: str, name: str) -> Object:
        if self.lease is None:
            raise ApiError(404, "not found", "GET")
        return self.lease | {"spec": dict(self.lease["spec"])}

    async def create(self, resource: Any, namespace: str, obj: Object) -> Object:
        self.lease = obj
        return obj

    async def replace(self, resource: Any, namespace: str, obj: Object) -> Object:
        self.lease = obj
        self.renewals += 1
        return obj

    async def close(self) -> None:
        self.closed = True


def leadership(server: Server, turns: Callable[[], bool] = lambda: True, end: Any = None) -> Leadership:
    """One replica's."""
    return Leadership(
        lambda: server,  # type: ignore[arg-type,return-value]
        namespace="system",
        name="speechless-operator",
        identity="me",
        turns=turns,
        end=end or (lambda status: pytest.fail("ended")),
    )


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "EVERY", 0.01)
    # A machine that gives this process no time for seconds does not end the test's Lease.
    monkeypatch.setattr(lease_module, "RENEW_WITHIN", PATIENCE)


def wait(until: Callable[[], bool]) -> None:
    """Block, as a loop that is busy does."""
    end = time.monotonic() + PATIENCE
    while not until():
        assert time.monotonic() < end, "it did not come to it"
        time.sleep(0.005)


def test_a_busy_loop_does_not_stand_before_a_renewal() -> None:
    async def work() -> None:
        server = Server()
        held = leadership(server)
        await held.acquire()
        assert held.leading
        wait(lambda: server.renewals > 5)
        await held.release()
        assert not held.leading
        assert server.closed
        assert server.lease is not None
        assert server.lease["spec"]["holderIdentity"] == ""

    run(work())


def test_a_loop_that_does_not_turn_gives_the_lease_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "RENEW_WITHIN", 0.05)

    async def work() -> None:
        held = leadership(Server(), turns=lambda: False)
        await held.acquire()
        with pytest.raises(LeaseLostError, match="was lost"):
            await held.keep()
        assert not held.leading
        await held.release()

    run(work())


def test_work_that_goes_on_without_the_lease_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "RENEW_WITHIN", 0.05)
    monkeypatch.setattr(module, "_END_WITHIN", 0.05)
    ended, status = threading.Event(), []

    def end(code: int) -> None:
        status.append(code)
        ended.set()

    async def work() -> None:
        held = leadership(Server(), turns=lambda: False, end=end)
        await held.acquire()
        assert ended.wait(PATIENCE)  # and this loop did not turn
        assert status == [1]
        await held.release()
        with pytest.raises(LeaseLostError):
            await held.keep()

    run(work())


def test_a_thread_that_cannot_begin_is_told() -> None:
    async def work() -> None:
        held = leadership(Server(), end=lambda status: None)
        held._connect = lambda: 1 // 0  # type: ignore[assignment,return-value]
        with pytest.raises(LeaseLostError, match="ZeroDivisionError"):
            await held.acquire()
        await held.release()

    run(work())


def test_one_that_is_released_before_it_was_got_is_not_taken() -> None:
    async def work() -> None:
        server = Server()
        server.lease = {"metadata": {}, "spec": {"holderIdentity": "another", "renewTime": "1"}}
        held = leadership(server)
        waiting = asyncio.create_task(held.acquire())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        waiting.cancel()
        await held.release()
        assert server.closed
        assert server.lease["spec"]["holderIdentity"] == "another"

    run(work())
