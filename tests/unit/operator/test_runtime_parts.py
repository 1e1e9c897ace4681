"""Queue, cache, limiter, wake-ups and progress texts: what can be tried without a cluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from speechless.contract import Metric, Progress, ProgressPhase
from speechless_operator.runtime import queue as queue_module
from speechless_operator.runtime.cache import Cache
from speechless_operator.runtime.limiter import Limiter
from speechless_operator.runtime.progress import as_status
from speechless_operator.runtime.queue import WorkQueue
from speechless_operator.runtime.source import registry, settings
from speechless_operator.runtime.wake import concerned
from tests.unit.operator.make import a_finetune, a_quantization, a_service


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a test's coroutine."""
    asyncio.run(asyncio.wait_for(work, 10))


# -- queue ------------------------------------------------------------------------------------------------------------


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


def test_the_limiter_lets_a_burst_through_and_then_the_rate() -> None:
    async def work() -> None:
        limiter = Limiter(rate=100, burst=5)
        began = time.monotonic()
        await asyncio.gather(*(limiter.acquire() for _ in range(5)))
        assert time.monotonic() - began < 0.04
        await asyncio.gather(*(limiter.acquire() for _ in range(10)))
        assert 0.08 < time.monotonic() - began < 1

    run(work())


# -- cache ------------------------------------------------------------------------------------------------------------


def at(obj: Any, version: int, uid: str = "u", namespace: str = "demo", **more: Any) -> Any:
    """An object as the API server would have it."""
    meta = {"resourceVersion": str(version), "uid": uid, "namespace": namespace, "generation": 1}
    return obj | more | {"metadata": obj["metadata"] | meta}


def test_only_what_is_newer_changes_anything() -> None:
    cache = Cache()
    assert cache.put(at(a_finetune().obj(), 5)) is not None
    assert cache.put(at(a_finetune().obj(), 5)) is None
    assert cache.put(at(a_finetune().obj(), 4)) is None
    assert cache.put(at(a_finetune().obj(), 10)) is not None, "10 is newer than 5: versions are numbers"


def test_an_answer_that_comes_after_the_objects_end_brings_nothing_back() -> None:
    cache = Cache()
    cache.put(at(a_finetune().obj(), 5))
    cache.remove(at(a_finetune().obj(), 6))
    assert cache.put(at(a_finetune().obj(), 5)) is None
    assert cache.get(("FineTune", "demo", "tuned")) is None
    assert cache.put(at(a_finetune().obj(), 7, uid="another")) is not None


def test_the_end_of_an_earlier_object_does_not_take_the_later_one() -> None:
    cache = Cache()
    cache.put(at(a_finetune().obj(), 7, uid="new"))
    assert cache.remove(at(a_finetune().obj(), 6, uid="old")) is None
    assert cache.get(("FineTune", "demo", "tuned")) is not None


def child(version: int, uid: str = "j", owner: str = "u", **more: Any) -> Any:
    """A Job of a resource."""
    labels = {"speechless.dev/kind": "FineTune", "speechless.dev/name": "tuned", "speechless.dev/uid": owner}
    references = [
        {"apiVersion": "speechless.dev/v1alpha1", "kind": "FineTune", "uid": owner, "controller": True}
    ]
    meta = {"name": "tuned-1", "labels": labels, "ownerReferences": references}
    return at({"kind": "Job", "metadata": meta}, version, uid, **more)


def failed_create(version: int, job_uid: str) -> Any:
    """What the Job controller says."""
    about = {"kind": "Job", "uid": job_uid}
    return at({"kind": "Event", "metadata": {"name": "e"}, "involvedObject": about}, version, uid="e")


def test_children_are_found_by_their_owner_with_what_is_said_of_them() -> None:
    cache = Cache()
    cache.put(failed_create(1, "j"))
    cache.put(child(2))
    cache.put(
        child(3, uid="k", owner="other") | {"metadata": child(3, "k", "other")["metadata"] | {"name": "x"}}
    )
    found = cache.children("u")
    assert {kind: len(objects) for kind, objects in found.items()} == {"Job": 1, "Event": 1}
    cache.remove(child(4))
    assert cache.children("u") == {}


def test_a_label_alone_makes_no_child() -> None:
    cache = Cache()
    stranger = child(1)
    del stranger["metadata"]["ownerReferences"]
    cache.put(stranger)
    assert cache.children("u") == {}


def test_managed_fields_are_not_kept() -> None:
    cache = Cache()
    obj = at(a_finetune().obj(), 1)
    obj["metadata"] |= {
        "managedFields": [{}],
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "mine": "x"},
    }
    change = cache.put(obj)
    assert change is not None
    assert change.new is not None
    assert "managedFields" not in change.new["metadata"]
    assert change.new["metadata"]["annotations"] == {"mine": "x"}


# -- who is woken -----------------------------------------------------------------------------------------------------

TUNED, SMALL, CHAT = (
    ("FineTune", "demo", "tuned"),
    ("Quantization", "demo", "small"),
    ("InferenceService", "demo", "chat"),
)


def filled() -> Cache:
    """A chain of three."""
    cache = Cache()
    cache.put(at(a_finetune().obj(), 1))
    cache.put(at(a_quantization().obj(), 2, uid="q"))
    cache.put(at(a_service().behind("scored").obj(), 3, uid="s"))
    return cache


def woken(cache: Cache, obj: Any, *, gone: bool = False) -> set[Any]:
    """Who is woken by an object's news."""
    change = cache.remove(obj) if gone else cache.put(obj)
    assert change is not None
    return concerned(change, cache)


def test_a_new_resource_wakes_itself_and_who_refers_to_it() -> None:
    cache = filled()
    assert woken(
        cache, at({"kind": "Evaluation", "metadata": {"name": "scored"}, "spec": {}}, 4, uid="e")
    ) == {
        ("Evaluation", "demo", "scored"),
        CHAT,
    }


def test_our_own_status_wakes_only_who_refers_to_the_resource() -> None:
    assert woken(filled(), at(a_finetune().obj(), 9, status={"phase": "Running"})) == {SMALL}


def test_progress_wakes_nobody() -> None:
    assert woken(filled(), at(a_finetune().obj(), 9, status={"progress": {"percent": 1}})) == set()


def test_an_override_wakes_its_resource() -> None:
    cache = filled()
    made = at(a_service().behind("scored").annotated(gate_override="why").obj(), 9, uid="s")
    assert woken(cache, made) == {CHAT}


def test_the_end_of_a_resource_wakes_who_refers_to_it() -> None:
    assert woken(filled(), at(a_quantization().obj(), 9, uid="q"), gone=True) == {SMALL, CHAT}


def test_a_child_and_what_is_said_of_it_wake_the_owner() -> None:
    cache = filled()
    assert woken(cache, child(5)) == {TUNED}
    assert woken(cache, failed_create(6, "j")) == {TUNED}
    assert woken(cache, failed_create(7, "unknown")) == set()


# -- the ear ----------------------------------------------------------------------------------------------------------


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


# -- progress ---------------------------------------------------------------------------------------------------------


def test_progress_as_people_and_programs_read_it() -> None:
    told = Progress(
        phase=ProgressPhase.WORKING,
        step=120,
        total_steps=300,
        percent=40.9,
        remaining_seconds=80,
        metrics=(
            Metric(name="loss", value=0.5),
            Metric(name="loss", value=1),
            Metric(name="bad", value=float("nan")),
        ),
    )
    assert as_status(told) == {
        "phase": "Working",
        "percent": 40,
        "step": 120,
        "totalSteps": 300,
        "remainingSeconds": 80,
        "summary": "40% 120/300 ~80s",
        "metrics": [{"name": "loss", "value": 1}],
    }


def test_progress_without_steps_says_its_phase() -> None:
    assert as_status(Progress(phase=ProgressPhase.FETCHING))["summary"] == "Fetching"
