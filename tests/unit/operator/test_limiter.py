"""The limiter: a burst, then the rate, and what matters more first."""

from __future__ import annotations

import asyncio

import pytest

from speechless_operator.runtime import limiter as limiter_module
from speechless_operator.runtime.limiter import Lane, Limiter
from tests.unit.operator.seen import run


def test_a_burst_passes_at_once_and_what_comes_then_goes_by_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(limiter_module, "monotonic", lambda: clock[0])
    passed: list[str] = []

    async def one(limiter: Limiter, lane: Lane, name: str) -> None:
        await limiter.acquire(lane)
        passed.append(name)

    async def work() -> None:
        limiter = Limiter(rate=1000, burst=2)
        tasks = [
            asyncio.create_task(one(limiter, lane, name))
            for lane, name in [
                (Lane.PROGRESS, "burst"), (Lane.PROGRESS, "burst"),
                (Lane.PROGRESS, "progress"), (Lane.EVENTS, "event"), (Lane.WORK, "work"), (Lane.WORK, "more work"),
            ]
        ]  # fmt: skip
        for _ in range(3):
            await asyncio.sleep(0)
        assert passed == ["burst", "burst"], "no token is left, and the clock stands"
        for _ in range(4):
            clock[0] += 0.001
            count = len(passed)
            while len(passed) == count:
                await asyncio.sleep(0.001)
        assert passed[2:] == ["work", "more work", "event", "progress"]
        await asyncio.gather(*tasks)

    run(work())


def test_a_rate_of_zero_lets_everything_pass() -> None:
    async def work() -> None:
        limiter = Limiter(rate=0, burst=1)
        for _ in range(1000):
            await limiter.acquire(Lane.PROGRESS)

    run(work())


def test_who_stops_waiting_takes_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(limiter_module, "monotonic", lambda: clock[0])

    async def work() -> None:
        limiter = Limiter(rate=1000, burst=1)
        await limiter.acquire()
        gone = asyncio.create_task(limiter.acquire())
        stays = asyncio.create_task(limiter.acquire())
        await asyncio.sleep(0)
        gone.cancel()
        clock[0] += 0.001
        await stays
        assert gone.cancelled()

    run(work())
