"""Who is woken by what."""

from __future__ import annotations

from typing import Any

from speechless_operator.runtime.cache import Cache
from speechless_operator.runtime.wake import concerned
from tests.unit.operator.make import a_finetune, a_quantization, a_service
from tests.unit.operator.seen import at, child, failed_create, pod

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
    assert woken(cache, pod(5)) == {TUNED}
    assert woken(cache, failed_create(6, "j")) == {TUNED}
    assert woken(cache, failed_create(7, "unknown")) == set()


def test_a_strangers_pod_with_our_labels_wakes_nobody() -> None:
    assert woken(filled(), pod(5, job="strange")) == set()
