"""The cache: what is kept, what is newer, what belongs to whom."""

from __future__ import annotations

from typing import Any

import pytest

from speechless_operator.runtime import cache as cache_module
from speechless_operator.runtime.cache import Cache, key_of
from speechless_operator.runtime.keep import Packed
from tests.unit.operator.make import a_finetune, an_evaluation
from tests.unit.operator.seen import at, child, failed_create, pod

JOB = ("Job", "demo", "tuned-1")


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


def test_children_are_found_by_their_owner_with_what_is_said_of_them() -> None:
    cache = Cache()
    cache.put(failed_create(1, "j"))
    cache.put(child(2))
    cache.put(child(3, uid="k", owner="other", name="x"))
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


# -- ends and returns -------------------------------------------------------------------------------------------------


def test_a_child_whose_label_was_changed_and_put_back_is_seen_again() -> None:
    """The watch tells DELETED of what leaves its selector, with the version at which it left."""
    cache = Cache()
    cache.put(at(a_finetune().obj(), 1))
    cache.put(child(5))
    assert cache.remove(child(7)) is not None
    assert cache.put(child(6)) is None, "the answer to an earlier write is not a return"
    assert cache.put(child(7)) is None
    change = cache.put(child(8))
    assert change is not None
    assert change.old is None
    assert cache.get(JOB) is not None
    assert cache.put(child(8)) is None


def test_an_end_that_is_told_late_does_not_take_what_came_back() -> None:
    cache = Cache()
    cache.put(child(9))
    assert cache.remove(child(7)) is None
    assert cache.get(JOB) is not None


def test_what_can_be_seen_no_more_is_taken_again_at_the_same_version() -> None:
    cache = Cache()
    cache.put(child(5))
    assert cache.lose(JOB) is not None
    assert cache.lose(JOB) is None
    assert cache.put(child(5)) is not None


def test_the_dead_are_not_remembered_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "MAX_DEAD", 3)
    cache = Cache()
    for number in range(9):
        cache.remove(child(5, uid=f"j{number}"))
    assert [n for n in range(9) if cache.ended_at(f"j{n}") == 5] == [6, 7, 8]


# -- whose it is ------------------------------------------------------------------------------------------------------


def test_a_pod_belongs_to_the_resource_that_its_job_belongs_to() -> None:
    cache = Cache()
    cache.put(at(a_finetune().obj(), 1))
    cache.put(pod(3))
    assert cache.children("u") == {}, "its Job is not known yet"
    cache.put(child(2))
    assert [obj["metadata"]["name"] for obj in cache.children("u")["Pod"]] == ["tuned-1-x"]
    assert cache.root(pod(3)) == ("FineTune", "demo", "tuned")


def test_a_pod_of_a_strangers_job_belongs_to_nobody_whatever_its_labels_say() -> None:
    cache = Cache()
    cache.put(at(a_finetune().obj(), 1))
    cache.put(child(2))
    cache.put(pod(3, job="strange"))
    assert "Pod" not in cache.children("u")
    assert cache.root(pod(3, job="strange")) is None


def a_served_pod(deployment: str, digest: str = "5d9") -> Any:
    """A pod of a ReplicaSet."""
    obj = pod(5, uid=f"{deployment}-p", name=f"{deployment}-{digest}-abc")
    obj["metadata"]["labels"]["pod-template-hash"] = digest
    reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": True, "uid": "rs"}
    obj["metadata"]["ownerReferences"] = [reference | {"name": f"{deployment}-{digest}"}]
    return obj


def test_a_served_pod_belongs_to_its_deployment_by_the_replica_sets_name() -> None:
    cache = Cache()
    cache.put(at(a_finetune().obj(), 1))
    deployment = child(2, name="chat-is-1") | {"kind": "Deployment"}
    cache.put(deployment)
    cache.put(a_served_pod("chat-is-1"))
    cache.put(a_served_pod("other"))
    assert [obj["metadata"]["name"] for obj in cache.children("u")["Pod"]] == ["chat-is-1-5d9-abc"]


@pytest.mark.parametrize("kind", ["Job", "Pod", "ConfigMap", "Service", "Deployment", "Workload"])
def test_what_has_no_owner_is_not_kept(kind: str) -> None:
    cache = Cache()
    stranger = child(1) | {"kind": kind}
    del stranger["metadata"]["ownerReferences"]
    assert cache.put(stranger) is None
    assert cache.keys([kind]) == []


def test_a_child_that_loses_its_owner_is_gone_and_comes_back_with_it() -> None:
    cache = Cache()
    cache.put(child(1))
    orphan = child(2)
    orphan["metadata"]["ownerReferences"] = []
    change = cache.put(orphan)
    assert change is not None
    assert change.new is None
    assert cache.put(child(3)) is not None


def test_what_looks_like_ours_and_has_no_known_owner_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "MAX_STRAYS", 10)
    cache = Cache()
    cache.put(at(a_finetune().obj(), 1))
    cache.put(child(2))
    cache.put(failed_create(3, "j", "ours"))
    for number in range(100):
        cache.put(failed_create(10 + number, "strange", f"e{number}"))
    assert len(cache.keys(["Event"])) == 11
    assert len(cache.children("u")["Event"]) == 1, "what belongs to somebody stays"


def test_one_resource_has_no_thousands_of_children(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever may make Deployments may name any resource as their controller."""
    monkeypatch.setattr(cache_module, "MAX_OWN", 5)
    monkeypatch.setattr(cache_module, "MAX_BELOW", 8)
    cache = Cache()
    cache.put(at(a_finetune().obj(), 1))
    own = child(2)
    cache.put(own)
    for number in range(100):
        forged = child(10 + number, name=f"forged-{number}", uid=f"f{number}")
        cache.put(forged)
        cache.put(failed_create(200 + number, own["metadata"]["uid"], f"e{number}"))
    assert (len(cache.keys(["Job"])), len(cache.keys(["Event"]))) == (5, 8)
    assert cache.get(key_of(own)) is not None
    assert len(caplog.records) == 2, "it is told once an owner"
    assert cache.is_crowded(forged), "a resync does not miss it"
    assert cache.put(child(500, status={"succeeded": 1})) is not None, "what is known is followed as before"
    assert cache.remove(child(501)) is not None
    assert cache.put(child(502, name="next", uid="next")) is not None, "there is room again"


# -- what is kept -----------------------------------------------------------------------------------------------------


def test_of_a_config_map_the_data_is_not_kept() -> None:
    cache = Cache()
    cache.put(child(1, data={"stage.json": "x" * 1_000_000}) | {"kind": "ConfigMap"})
    kept = cache.get(("ConfigMap", "demo", "tuned-1"))
    assert kept is not None
    assert "data" not in kept


def test_what_has_ended_is_kept_small_and_read_whole() -> None:
    cache = Cache()
    obj = at(
        a_finetune().obj(),
        5,
        status={"conditions": [{"type": "Succeeded", "status": "True"}], "x": "\u2028é"},
    )
    cache.put(obj)
    key = ("FineTune", "demo", "tuned")
    assert isinstance(cache._kinds["FineTune"][key[1:]], Packed)
    assert cache.get(key) == obj
    assert cache.stands(key) == ("u", 5)
    assert cache.put(obj) is None
    change = cache.put(at(obj, 6))
    assert change is not None
    assert change.old == obj
    assert list(cache.of_kind("FineTune")) == [at(obj, 6)]


# -- figures ----------------------------------------------------------------------------------------------------------


def present(cache: Cache) -> dict[tuple[str, str], int]:
    """What /metrics shows."""
    return {labels: number for labels, number in cache.tally.phases.items() if number}


def test_resources_are_counted_by_kind_and_phase_as_they_change() -> None:
    cache = Cache()
    cache.put(at(a_finetune().obj(), 1))
    cache.put(at(a_finetune("b").obj(), 2, uid="b", status={"phase": "Running"}))
    assert present(cache) == {("FineTune", "New"): 1, ("FineTune", "Running"): 1}
    cache.put(at(a_finetune().obj(), 3, status={"phase": "Running"}))
    cache.remove(at(a_finetune("b").obj(), 4, uid="b"))
    assert present(cache) == {("FineTune", "Running"): 1}
    cache.put(at(a_finetune().obj(), 5, status={"phase": "made up"}))
    assert present(cache) == {("FineTune", "Other"): 1}, "what somebody wrote makes no series"


def test_scores_are_those_of_the_newest_evaluations_and_the_first_metrics(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from speechless_operator.runtime import tally

    monkeypatch.setattr(tally, "MAX_EVALUATIONS", 2)
    monkeypatch.setattr(tally, "MAX_SCORES", 2)
    cache = Cache()
    metrics = [{"name": "a", "value": 1}, {"name": "b"}, {"name": "c", "value": 3}]
    for number, name in enumerate(("one", "two", "three")):
        cache.put(at(an_evaluation(name).obj(), number + 1, uid=name, status={"metrics": metrics}))
    assert list(cache.tally.scores()) == [("demo", "two", "a", 1.0), ("demo", "three", "a", 1.0)]
    cache.remove(at(an_evaluation("two").obj(), 9, uid="two"))
    assert [name for _, name, _, _ in cache.tally.scores()] == ["three"]
