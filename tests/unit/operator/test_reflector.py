"""The reflector: list, watch, go on; after a gap list and compare."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from speechless_operator.desired.objects import Object
from speechless_operator.runtime import reflector as reflector_module
from speechless_operator.runtime.cache import Cache, Change
from speechless_operator.runtime.client import ApiError, Page
from speechless_operator.runtime.intake import Intake
from speechless_operator.runtime.reflector import Reflector
from speechless_operator.runtime.resources import CHILDREN
from speechless_operator.runtime.supervise import Patience
from tests.unit.operator.make import a_finetune
from tests.unit.operator.seen import Told, at, bookmark, child, run


class Scene:
    """A reflector of Jobs, and what it told."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, namespace: str | None = None, kind: str = "Job"
    ) -> None:
        monkeypatch.setattr(Patience, "next", lambda self, at_least=0.0: 0.0)
        self.cache = Cache()
        self.cache.put(at(a_finetune().obj(), 1))
        self.changes: list[tuple[str, str]] = []
        self.client = Told()
        self.reflector = Reflector(
            self.client,  # type: ignore[arg-type]
            CHILDREN[kind],
            namespace,
            intake=Intake(self.cache, self._changed),
        )

    def _changed(self, change: Change) -> None:
        obj: Object = change.new or change.old or {}
        what = "gone" if change.new is None else "new" if change.old is None else "changed"
        self.changes.append((what, obj["metadata"]["name"]))

    async def until_idle(self) -> None:
        """Run it until it has nothing more to hear."""
        running = asyncio.create_task(self.reflector.run())
        idle = asyncio.create_task(self.client.idle.wait())
        done, _ = await asyncio.wait([running, idle], return_when=asyncio.FIRST_COMPLETED)
        running.cancel()
        assert idle in done, running.exception()


def job(name: str, version: int) -> Any:
    """One of the resource's Jobs."""
    return child(version, uid=name, name=name)


def test_it_lists_then_watches_from_there_and_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        scene = Scene(monkeypatch)
        scene.client.lists = [Page([job("a", 3), job("b", 4)], 10)]
        scene.client.watches = [
            [("ADDED", job("c", 11)), ("MODIFIED", job("a", 12)), ("DELETED", job("b", 13))],
            [bookmark(40)],
            ApiError(0, "the connection broke", "WATCH"),
        ]
        await scene.until_idle()
        assert scene.changes == [("new", "a"), ("new", "b"), ("new", "c"), ("changed", "a"), ("gone", "b")]
        assert scene.client.watched_from == [10, 13, 40, 40]
        assert scene.reflector.synced
        assert scene.reflector.passed(40)
        assert not scene.reflector.passed(41)

    run(work())


@pytest.mark.parametrize("how", ["answer", "event"])
def test_after_a_gap_it_lists_again_and_tells_only_what_differs(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    async def work() -> None:
        scene = Scene(monkeypatch)
        error = {"code": 410, "message": "too old resource version"}
        scene.client.lists = [Page([job("a", 3), job("b", 4)], 10), Page([job("a", 3), job("c", 15)], 20)]
        scene.client.watches = [ApiError(410, "too old", "WATCH") if how == "answer" else [("ERROR", error)]]
        await scene.until_idle()
        assert scene.changes == [("new", "a"), ("new", "b"), ("new", "c"), ("gone", "b")]
        assert scene.client.watched_from == [10, 20]

    run(work())


def test_what_was_made_after_the_list_is_not_taken_for_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        scene = Scene(monkeypatch)
        scene.cache.put(job("mine", 30))  # our own write's answer
        scene.client.lists = [Page([], 20)]
        await scene.until_idle()
        assert scene.cache.get(("Job", "demo", "mine")) is not None

    run(work())


def test_a_list_of_one_namespace_says_nothing_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        scene = Scene(monkeypatch, namespace="other")
        scene.cache.put(job("a", 3))
        scene.client.lists = [Page([], 20)]
        await scene.until_idle()
        assert scene.cache.get(("Job", "demo", "a")) is not None

    run(work())


def test_trouble_is_told_once_and_lasts_as_long_as_it_lasts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        scene = Scene(monkeypatch)
        scene.client.lists = [*[ApiError(403, "forbidden", "GET")] * 50, Page([job("a", 3)], 10)]
        await scene.until_idle()
        assert scene.changes == [("new", "a")]
        assert not scene.reflector.refused

    run(work())
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        "jobs in all namespaces cannot be watched: GET: 403 forbidden; tried again until it can be"
    ]


def test_a_kind_that_the_cluster_lacks_is_looked_for_and_forgotten_when_it_goes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reflector_module, "ABSENT_SECONDS", 0)

    async def work() -> None:
        scene = Scene(monkeypatch, kind="Workload")
        workload = job("w", 5) | {"kind": "Workload"}
        scene.client.lists = [
            ApiError(404, "no such kind", "GET"),
            Page([workload], 10),
            Page([workload], 20),
        ]
        scene.client.watches = [ApiError(404, "no such kind", "WATCH")]
        await scene.until_idle()
        assert scene.changes == [("new", "w"), ("gone", "w"), ("new", "w")]

    run(work())
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_one_odd_object_hides_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        scene = Scene(monkeypatch)
        odd = job("odd", 11)
        odd["metadata"]["ownerReferences"] = ["what?"]
        scene.client.lists = [Page([odd, job("a", 3)], 10)]
        scene.client.watches = [[("ADDED", odd), ("ADDED", job("b", 12))]]
        await scene.until_idle()
        assert scene.changes == [("new", "a"), ("new", "b")]

    run(work())
    assert "Job demo/odd cannot be taken" in caplog.text


def test_found_deaf_it_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        scene = Scene(monkeypatch)
        scene.client.lists = [Page([job("a", 3)], 10), Page([job("b", 12)], 20)]
        running = asyncio.create_task(scene.reflector.run())
        await scene.client.idle.wait()
        scene.client.idle.clear()
        scene.reflector.relist()
        await scene.client.idle.wait()
        running.cancel()
        assert scene.changes == [("new", "a"), ("new", "b"), ("gone", "a")]
        assert scene.client.watched_from == [10, 20]

    run(work())
