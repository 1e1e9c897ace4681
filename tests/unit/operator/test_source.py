"""kopf: it listens, and that is all."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from speechless_operator.desired.objects import Object
from speechless_operator.runtime.intake import Inbox
from speechless_operator.runtime.source import _Seldom, registry, settings
from tests.unit.operator.seen import run


def test_kopf_only_listens() -> None:
    made = registry(None, lambda kind, obj: None)  # type: ignore[arg-type]
    assert len(list(made._watching.get_all_handlers())) == 4
    assert not list(made._changing.get_all_handlers())
    assert not list(made._spawning.get_all_handlers())
    assert not list(made._indexing.get_all_handlers())
    chosen = settings()
    assert not chosen.posting.enabled
    assert chosen.scanning.disabled
    assert chosen.queueing.worker_limit is None


def test_many_events_of_another_thread_are_one_wake_up() -> None:
    taken: list[Any] = []
    wakes: list[Any] = []

    class Loop:
        def call_soon_threadsafe(self, call: Any) -> None:
            wakes.append(call)

        call_soon = call_soon_threadsafe

    inbox = Inbox(Loop(), lambda kind, obj: taken.append(obj["n"]))  # type: ignore[arg-type]
    for number in range(1200):
        inbox.put("ADDED", {"n": number})
    assert len(wakes) == 1
    while wakes:
        wakes.pop(0)()
    assert taken == list(range(1200))
    inbox.put(None, {"n": -1})
    assert len(wakes) == 1, "woken again for what comes later"


def test_events_of_another_thread_arrive_in_their_order() -> None:
    async def work() -> None:
        taken: list[Object] = []
        inbox = Inbox(asyncio.get_running_loop(), lambda kind, obj: taken.append(obj))

        def tell() -> None:
            for number in range(2000):
                inbox.put("ADDED", {"n": number})

        await asyncio.to_thread(tell)
        while len(taken) < 2000:
            await asyncio.sleep(0)
        assert [obj["n"] for obj in taken] == list(range(2000))

    run(work())


def test_what_kopf_says_again_and_again_is_let_through_once() -> None:
    told = "Request attempt #{} failed; will retry: GET https://x/apis/speechless.dev/v1alpha1/{}?watch=true -> E({})"
    seldom = _Seldom()

    def passes(*details: object) -> bool:
        return seldom.filter(logging.LogRecord("kopf", logging.ERROR, "", 0, told.format(*details), (), None))

    assert passes(1, "finetunes", "a")
    assert not passes(2, "finetunes", "b")
    assert passes(3, "evaluations", "a")
