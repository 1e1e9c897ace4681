"""The work queue: each key once, changes first, namespaces in turn."""

from __future__ import annotations

import asyncio

import pytest

from speechless_operator.runtime import queue as queue_module
from speechless_operator.runtime.queue import TURNS, WorkQueue
from tests.unit.operator.seen import run


def test_a_key_added_twice_is_worked_on_once() -> None:
    async def work() -> None:
        queue: WorkQueue[str] = WorkQueue()
        queue.add("a")
        queue.add("a")
        assert len(queue) == 1
        assert await queue.get() == "a"
        queue.done("a")
        assert len(queue) == 0

    run(work())


def test_a_key_added_while_it_is_worked_on_is_worked_on_once_more_and_not_at_the_same_time() -> None:
    async def work() -> None:
        queue: WorkQueue[str] = WorkQueue()
        queue.add("a")
        await queue.get()
        queue.add("a")
        queue.add("a")
        assert len(queue) == 0, "nobody else may have it now"
        queue.done("a")
        assert await queue.get() == "a"
        queue.done("a")
        assert len(queue) == 0

    run(work())


def test_failures_wait_longer_each_time_until_it_goes_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module.random, "uniform", lambda a, b: 1.0)

    async def work() -> None:
        queue: WorkQueue[str] = WorkQueue()
        assert [queue.retry("a") for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
        queue.forget("a")
        assert queue.retry("a") == 1
        queue.close()

    run(work())


def test_the_earliest_wish_counts_and_a_change_does_not_wait() -> None:
    async def work() -> None:
        queue: WorkQueue[str] = WorkQueue()
        queue.add_after("a", 60)
        queue.add_after("a", 0.01)
        queue.add_after("a", 60)
        assert await queue.get() == "a"
        queue.done("a")
        queue.add_after("b", 60)
        queue.add("b")
        assert await queue.get() == "b"
        queue.done("b")

    run(work())


def test_a_closed_queue_lets_workers_go() -> None:
    async def work() -> None:
        queue: WorkQueue[str] = WorkQueue()
        waiting = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.add_after("later", 0.01)
        queue.close()
        assert await waiting is None
        queue.add("a")
        await asyncio.sleep(0.05)
        assert await queue.get() is None

    run(work())


def test_what_changed_goes_before_what_a_start_looks_at_which_has_its_turn_now_and_then() -> None:
    async def work() -> None:
        queue: WorkQueue[str] = WorkQueue()
        for number in range(5):
            queue.add(f"old{number}", changed=False)
        for number in range(TURNS * 2):
            queue.add(f"new{number}")
        taken = [await queue.get() for _ in range(TURNS * 2 + 5)]
        first = taken.index("old0")
        assert taken[:first] == [f"new{number}" for number in range(first)]
        assert 0 < first <= TURNS, "what does not change waits, but not until nothing changes any more"
        assert set(taken[-3:]) <= {f"old{number}" for number in range(5)}

    run(work())


def test_a_key_that_waits_and_then_changes_goes_first_once() -> None:
    async def work() -> None:
        queue: WorkQueue[str] = WorkQueue()
        queue.add("a", changed=False)
        queue.add("b", changed=False)
        queue.add("b")
        assert len(queue) == 2
        assert [await queue.get(), await queue.get()] == ["b", "a"]

    run(work())


def test_namespaces_take_turns() -> None:
    async def work() -> None:
        queue: WorkQueue[tuple[str, str]] = WorkQueue(lambda key: key[0])
        for number in range(1000):
            queue.add(("loud", str(number)))
        queue.add(("quiet", "0"))
        queue.add(("quiet", "1"))
        taken = [await queue.get() for _ in range(4)]
        assert [key[0] for key in taken if key] == ["loud", "quiet", "loud", "quiet"]

    run(work())
