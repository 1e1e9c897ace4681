"""Events: nobody waits for them, and noise has bounds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from speechless_operator.desired.objects import Object
from speechless_operator.plan import Event
from speechless_operator.runtime import events, metrics
from speechless_operator.runtime.client import ApiError
from speechless_operator.runtime.events import Recorder
from speechless_operator.runtime.limiter import Lane
from tests.unit.operator.make import a_finetune
from tests.unit.operator.seen import at, run


class Server:
    """Keeps Events as the API server does."""

    def __init__(self, *answers: ApiError) -> None:
        self.answers = list(answers)
        self.kept: dict[str, Object] = {}
        self.lanes: set[Lane] = set()

    async def create(self, resource: Any, namespace: str, obj: Object, *, lane: Lane) -> Object:
        self.lanes.add(lane)
        if self.answers:
            raise self.answers.pop(0)
        name = obj["metadata"]["name"]
        if name in self.kept:
            raise ApiError(409, "exists", "POST")
        self.kept[name] = obj
        return obj

    async def get(self, resource: Any, namespace: str, name: str) -> Object:
        return self.kept[name]

    async def patch(self, resource: Any, namespace: str, name: str, body: Object, *, lane: Lane) -> Object:
        self.kept[name] = self.kept[name] | body
        return self.kept[name]


def told(server: Server, *of: tuple[Object, Event]) -> None:
    """Tell a recorder, and let it write."""

    async def work() -> None:
        recorder = Recorder(server, "me")  # type: ignore[arg-type]
        for about, event in of:
            recorder.tell(about, event)
        writing = asyncio.create_task(recorder.run())
        while len(recorder):
            await asyncio.sleep(0)
        writing.cancel()

    run(work())


def dropped(why: str) -> float:
    """How many were."""
    return metrics.REGISTRY.get_sample_value("speechless_operator_events_dropped_total", {"why": why}) or 0.0


TUNED = at(a_finetune().obj(), 5)
BEGUN = Event("Created", "Job tuned-1 is made")


def test_the_same_is_counted_whether_it_waits_or_was_written() -> None:
    server = Server()
    told(server, (TUNED, BEGUN), (TUNED, BEGUN), (TUNED, Event("Other", "x", warning=True)))
    told(server, (TUNED, BEGUN))
    assert sorted((event["reason"], event["count"], event["type"]) for event in server.kept.values()) == [
        ("Created", 3, "Normal"),
        ("Other", 1, "Warning"),
    ]
    assert server.lanes == {Lane.EVENTS}


def test_what_fails_for_a_while_is_written_later_and_what_is_refused_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events.Patience, "next", lambda self, at_least=0.0: 0.0)
    server = Server(ApiError(503, "no", "POST"), ApiError(0, "no", "POST"), ApiError(429, "no", "POST"))
    told(server, (TUNED, BEGUN))
    assert len(server.kept) == 1
    before = dropped("refused")
    told(Server(ApiError(403, "the namespace is terminating", "POST")), (TUNED, BEGUN))
    assert dropped("refused") == before + 1


def test_too_many_are_dropped_and_one_namespace_does_not_drop_anothers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "MAX_OF_A_NAMESPACE", 3)
    monkeypatch.setattr(events, "MAX_WAITING", 5)
    server, before = Server(), dropped("full")
    quiet = at(a_finetune().obj(), 5, namespace="quiet")
    told(
        server,
        *((TUNED, Event("Noise", str(number))) for number in range(100)),
        *((quiet, Event("News", str(number))) for number in range(4)),
    )
    found = sorted(event["metadata"]["namespace"] for event in server.kept.values())
    assert found == ["demo"] * 3 + ["quiet"] * 2
    assert dropped("full") - before == 97 + 2
