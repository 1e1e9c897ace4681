"""Progress: who is asked, how often, and who is believed. (What is said is tested with plan/accept.py.)"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from speechless.contract import Progress, ProgressPhase
from speechless_operator.desired.objects import Object
from speechless_operator.runtime import progress as progress_module
from speechless_operator.runtime.cache import Cache
from speechless_operator.runtime.client import ApiError
from speechless_operator.runtime.limiter import Lane
from speechless_operator.runtime.progress import FIRST, Poller, _next_look, pace
from tests.unit.operator.make import a_finetune
from tests.unit.operator.seen import at, child, pod, run


class Server:
    """The API server, with stages behind it."""

    def __init__(self, cache: Cache) -> None:
        self.cache, self.asked, self.written = cache, [], []
        self.says: bytes | Exception = told(1)
        self.version = 100
        self.opens: asyncio.Event | None = None

    asked: list[str]
    written: list[Object]

    async def raw(self, path: str, *, limit: int) -> bytes:
        self.asked.append(path)
        if self.opens and "/silent-" in path:
            await self.opens.wait()
            raise ApiError(503, "no", "GET")
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    async def apply_status(self, obj: Object, status: Object, manager: str, *, lane: Lane) -> Object:
        assert lane is Lane.PROGRESS
        self.written.append(status["progress"])
        self.version += 1
        meta = obj["metadata"] | {"resourceVersion": str(self.version)}
        return obj | {"metadata": meta, "status": obj.get("status", {}) | status}


def told(percent: int, step: int = 0) -> bytes:
    """What a stage says."""
    return (
        Progress(phase=ProgressPhase.WORKING, percent=percent, step=step or percent * 10, total_steps=1000)
        .to_json()
        .encode()
    )


class Scene:
    """A poller whose clock stands until it is moved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *objects: Object) -> None:
        self.now = 1000.0
        monkeypatch.setattr(progress_module, "monotonic", lambda: self.now)
        self.cache = Cache()
        for obj in objects:
            self.cache.put(obj)
        self.server = Server(self.cache)
        self.poller = Poller(self.server, self.cache, keep=self.cache.put, proxy=True)  # type: ignore[arg-type]
        self.poller.look_around()

    async def begin(self) -> None:
        """See the pods for the first time, and go to the first look."""
        await self.after(0)
        assert self.server.asked == [], "a stage that has just begun does not listen yet"
        await self.after(FIRST)

    async def after(self, seconds: float) -> None:
        """Move the clock, and let the looks that are due end."""
        self.now += seconds
        async with asyncio.TaskGroup() as group:
            self.poller._begin(group, self.poller._through_server)


RUNNING = (at(a_finetune().obj(), 1), child(2), pod(3))


def test_a_whole_percent_is_told_after_ten_seconds_and_the_same_is_not_told_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def work() -> None:
        scene = Scene(monkeypatch, *RUNNING)
        await scene.begin()
        await scene.after(5)
        assert len(scene.server.asked) == 1, "not asked before it could be told"
        await scene.after(5)
        assert [progress["percent"] for progress in scene.server.written] == [1]
        scene.server.says = told(2)
        await scene.after(10)
        assert [progress["percent"] for progress in scene.server.written] == [1, 2]

    run(work())


def test_steps_within_a_percent_are_told_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        scene = Scene(monkeypatch, *RUNNING)
        await scene.begin()
        for number in range(1, 13):
            scene.server.says = told(1, step=10 + number)
            await scene.after(10)
        assert [progress["step"] for progress in scene.server.written] == [10, 16, 22]

    run(work())


def test_a_stage_that_does_not_answer_is_asked_less_and_less_until_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def work() -> None:
        scene = Scene(monkeypatch, *RUNNING)
        scene.server.says = ApiError(503, "no", "GET")
        asked_at: list[float] = []
        for _ in range(390):
            before = len(scene.server.asked)
            await scene.after(0.5)
            if len(scene.server.asked) > before:
                asked_at.append(scene.now)
        gaps = [round(b - a) for a, b in itertools.pairwise(asked_at)]
        assert gaps == [5, 10, 20, 40, 60]
        scene.server.says = told(5)
        await scene.after(60)
        await scene.after(10)
        assert scene.server.written
        assert len(scene.server.asked) == len(asked_at) + 2

    run(work())


def test_stages_that_do_not_answer_do_not_hold_up_one_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """More of them than there are looks in all, each with a request that hangs."""

    async def work() -> None:
        silent = [pod(10 + number, uid=f"s{number}", name=f"silent-{number}") for number in range(60)]
        scene = Scene(monkeypatch, *RUNNING, *silent)
        scene.server.opens = opens = asyncio.Event()
        opens.set()
        await scene.begin()
        assert len(scene.server.written) == 1
        opens.clear()
        scene.server.says = told(2)
        scene.now += 10
        async with asyncio.TaskGroup() as group:
            scene.poller._begin(group, scene.poller._through_server)
            async with asyncio.timeout(60):
                while len(scene.server.written) < 2:
                    await asyncio.sleep(0)
            hanging = sum("/silent-" in path for path in scene.server.asked) - len(silent)
            opens.set()
        assert 0 < hanging < 32

    run(work())


@pytest.mark.parametrize(
    "raw", [b"", b"\xff\xfe", b"[]", b"null", b"{", b'{"phase": 1}', b'{"percent": 1e999}', b"[" * 20_000]
)
def test_whatever_a_pod_says_the_next_one_is_asked(monkeypatch: pytest.MonkeyPatch, raw: bytes) -> None:
    async def work() -> None:
        scene = Scene(monkeypatch, *RUNNING, pod(4, uid="p2", name="tuned-1-y"))
        scene.server.says = raw
        await scene.begin()
        await scene.after(FIRST)
        assert len(scene.server.asked) == 4
        assert scene.server.written == []

    run(work())


def without_labels(obj: Any) -> Any:
    """As another hand left it."""
    obj["metadata"]["labels"] = {"speechless.dev/kind": "FineTune", "speechless.dev/uid": "x"}
    return obj


def test_labels_name_nobody_the_owner_does(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        scene = Scene(
            monkeypatch, *RUNNING[:2], without_labels(pod(3)), pod(4, uid="s", job="strange", name="s")
        )
        await scene.begin()
        assert len(scene.server.asked) == 1, "the stranger's pod is not asked"
        assert len(scene.server.written) == 1

    run(work())


def test_what_has_ended_is_not_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        ended = at(a_finetune().obj(), 1, status={"conditions": [{"type": "Failed", "status": "True"}]})
        scene = Scene(monkeypatch, ended, *RUNNING[1:])
        await scene.begin()
        assert scene.server.written == []

    run(work())


def test_pods_that_come_and_go_meanwhile_are_asked_and_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        scene = Scene(monkeypatch, *RUNNING[:2])
        await scene.after(FIRST)
        assert scene.server.asked == []
        for obj in (pod(3), pod(4, uid="p2", name="tuned-1-y")):
            change = scene.cache.put(obj)
            assert change is not None
            scene.poller.saw(change)
        await scene.begin()
        assert len(scene.server.asked) == 2
        waits = pod(20)
        waits["status"]["phase"] = "Pending"
        for change in (scene.cache.put(waits), scene.cache.lose(("Pod", "demo", "tuned-1-y"))):
            assert change is not None
            scene.poller.saw(change)
        await scene.after(600)
        assert len(scene.server.asked) == 2

    run(work())


def test_with_many_running_each_is_asked_and_told_less_often() -> None:
    assert pace(1) == pace(200) == _next_look(200) == 10
    assert pace(2000) == 100
    assert pace(10_000) == 500


def test_those_that_began_together_are_not_told_together() -> None:
    looks = sorted(_next_look(2000) for _ in range(2000))
    assert looks[0] >= 100
    assert looks[-1] <= 150
    assert sum(look < 110 for look in looks) < 1000
