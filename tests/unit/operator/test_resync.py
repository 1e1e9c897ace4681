"""Resync: what the watches missed, and what they are only late with."""

from __future__ import annotations

from typing import Any

import pytest

from speechless_operator.desired.objects import Object
from speechless_operator.runtime import cache as cache_module
from speechless_operator.runtime import resync as resync_module
from speechless_operator.runtime.cache import Cache, Change
from speechless_operator.runtime.client import ApiError, Page
from speechless_operator.runtime.intake import Intake
from speechless_operator.runtime.resources import CHILDREN
from speechless_operator.runtime.resync import Resync
from tests.unit.operator.make import a_finetune
from tests.unit.operator.seen import Told, at, child, run


class Heard:
    """One watch, as far as a test lets it come."""

    synced, refused, failing, namespace, resource = True, False, False, None, CHILDREN["Job"]


class Ears:
    """Only Jobs are watched."""

    def __init__(self) -> None:
        self.reflectors = {"Job": [Heard()]}
        self.at, self.restarted = 0, set[str]()
        self.late: list[Any] = []

    def passed(self, reflector: Any, version: int) -> bool:
        if self.late:
            self.late.pop(0)()
        return self.at >= version

    def restart(self, kinds: set[str]) -> None:
        self.restarted = kinds


class Scene:
    """A resync of Jobs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *known: Object) -> None:
        monkeypatch.setattr(resync_module, "GRACE_SECONDS", 0)
        monkeypatch.setattr(resync_module, "_LOOK_SECONDS", 0)
        self.cache, self.client, self.ears = Cache(), Told(), Ears()
        self.changes: list[Change] = []
        for obj in (at(a_finetune().obj(), 1), *known):
            self.cache.put(obj)
        self.resync = Resync(
            self.client,  # type: ignore[arg-type]
            Intake(self.cache, self.changes.append),
            self.ears,  # type: ignore[arg-type]
            seconds=300,
        )

    def missed(self, *listed: Object) -> int:
        """One round over a list of version 100."""
        found: list[int] = []
        self.client.lists = [Page([bare(obj) for obj in listed], 100)]

        async def work() -> None:
            found.append(await self.resync.once())

        run(work())
        return found[0]


def bare(obj: Object) -> Object:
    """As a list of metadata has it."""
    return {"kind": obj["kind"], "metadata": obj["metadata"]}


JOB = ("Job", "demo", "tuned-1")


def test_when_nothing_differs_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, child(5))
    assert scene.missed(child(5)) == 0
    assert scene.changes == []
    assert scene.ears.restarted == set()


def test_what_a_deaf_watch_missed_is_read_and_the_watch_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, child(5))
    scene.client.objects = {"tuned-1": child(50, status={"startTime": "2026-01-02T03:04:05Z"})}
    scene.ears.at = 100
    assert scene.missed(child(50)) == 1
    known = scene.cache.get(JOB)
    assert known is not None
    assert known["status"] == {"startTime": "2026-01-02T03:04:05Z"}
    assert scene.ears.restarted == {"Job"}
    assert scene.resync.missed_in_a_row == 1
    assert scene.missed(child(50)) == 0
    assert scene.resync.missed_in_a_row == 0


def test_a_watch_that_is_late_has_missed_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, child(5))
    scene.ears.late = [lambda: None, lambda: None, lambda: scene.cache.put(child(50))]
    assert scene.missed(child(50)) == 0
    assert scene.ears.restarted == set()


def test_a_watch_that_never_comes_as_far_is_deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(resync_module, "monotonic", lambda: float(next(clock)))
    scene = Scene(monkeypatch, child(5))
    scene.client.objects = {"tuned-1": child(50)}
    assert scene.missed(child(50)) == 1


def test_an_end_that_was_missed_is_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, child(5))
    scene.ears.at = 100
    assert scene.missed() == 1
    assert scene.cache.get(JOB) is None
    assert scene.cache.put(child(99)) is None, "an answer that is older than the list brings it not back"


def test_what_was_made_after_the_list_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, child(500))
    scene.ears.at = 100
    assert scene.missed() == 0


def test_what_ended_after_the_list_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, child(5))
    scene.cache.remove(child(200))
    scene.ears.at = 100
    assert scene.missed(child(5)) == 0


def test_what_was_too_much_of_one_owner_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else whoever forges children would have every watch started again."""
    monkeypatch.setattr(cache_module, "MAX_OWN", 1)
    scene = Scene(monkeypatch, child(5), child(6, uid="f", name="forged"))
    scene.ears.at = 100
    assert scene.missed(child(5), child(6, uid="f", name="forged")) == 0
    scene.cache.remove(child(7))
    assert scene.missed(child(6, uid="f", name="forged")) == 0, "there is room again, and nothing was missed"


def test_what_is_not_ours_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    scene.ears.at = 100
    stranger = child(7, uid="s", name="s")
    stranger["metadata"]["ownerReferences"] = []
    assert scene.missed(stranger, child(8, uid="o", owner="unknown", name="o")) == 0


def test_of_many_none_is_read_alone_their_kind_is_listed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resync_module, "FETCH_AT_MOST", 2)
    scene = Scene(monkeypatch)
    scene.ears.at = 100
    assert scene.missed(*(child(5, uid=f"j{n}", name=f"j{n}") for n in range(3))) == 3
    assert scene.changes == []
    assert scene.ears.restarted == {"Job"}


def test_a_namespace_that_is_gone_leaves_the_others_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, child(5))
    scene.ears.at = 100
    scene.ears.reflectors["Job"].insert(0, Heard())
    forbidden = ApiError(403, "forbidden", "GET")
    found: list[int] = []

    async def work() -> None:
        scene.client.lists = [forbidden, Page([], 100)]
        found.append(await scene.resync.once())
        scene.client.lists = [forbidden, forbidden]
        with pytest.raises(ApiError):
            await scene.resync.once()

    run(work())
    assert found == [1]
