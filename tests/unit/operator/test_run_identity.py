"""The same content is the same run: it finds its output, whoever creates it; other content never touches it."""

from __future__ import annotations

from typing import Any

import pytest

from speechless_operator.desired.inputs import Input, Run
from tests.unit.operator.make import A, B, a_finetune, a_quantization, a_result, an_evaluation
from tests.unit.operator.world import World


@pytest.fixture
def world() -> World:
    return World()


def run_of(world: World, kind: str = "FineTune", name: str = "tuned") -> Any:
    """status.run."""
    return world.status(kind, name)["run"]


def started(world: World, made: Any) -> Any:
    """The run of a resource alone in the world."""
    world.put(made.obj())
    world.settle()
    run = run_of(world, made.obj()["kind"], made.obj()["metadata"]["name"])
    world.delete(made.obj()["kind"], made.obj()["metadata"]["name"])
    return run


def test_the_identity_is_written_before_the_first_child(world: World) -> None:
    world.put(a_finetune().obj())
    world.budget = 1
    with pytest.raises(Exception, match="apply ConfigMap"):
        world.step("FineTune", "tuned")
    run = run_of(world)
    assert world.of("Job") == world.of("ConfigMap") == []
    world.restart()
    world.settle()
    (job,) = world.of("Job")
    assert job["metadata"]["name"] == f"tuned-ft-{run['name']}"
    assert run["output"].endswith(f"/demo/finetune/tuned/{run['name']}")


@pytest.mark.parametrize(
    "more",
    [
        {"activeDeadlineSeconds": 99},
        {"backoffLimit": 9},
        {"ttlSecondsAfterFinished": 9},
        {"queueName": "lq"},
        {"checkpoints": {"everySteps": 7}},
        {"dataset": {"uri": "pvc://models/rows.jsonl", "waitSeconds": 9}},
        {"pod": {"resources": {"limits": {"memory": "64Gi"}}, "nodeSelector": {"gpu": "a"}}},
        {"pod": {"priorityClassName": "high", "labels": {"team": "a"}, "annotations": {"a": "b"}}},
        {"hyperparameters": {"seed": 42, "maxLength": 1024}},
    ],
    ids=str,
)
def test_what_does_not_decide_the_result_is_not_in_the_identity(world: World, more: Any) -> None:
    assert started(world, a_finetune().with_(**more))["name"] == started(world, a_finetune())["name"]


@pytest.mark.parametrize(
    "more",
    [
        {"hyperparameters": {"seed": 7}},
        {"method": "Full"},
        {"merge": False},
        {"model": {"uri": "pvc://models/other"}},
        {"model": {"uri": "pvc://models/base", "digest": A}},
        {"dataset": {"uri": "pvc://models/rows.jsonl", "maxSamples": 9}},
        {"pod": {"image": "mine/train:1"}},
        {"pod": {"env": [{"name": "PYTHONPATH", "value": "/x"}]}},
    ],
    ids=str,
)
def test_what_decides_the_result_is(world: World, more: Any) -> None:
    other, base = started(world, a_finetune().with_(**more)), started(world, a_finetune())
    assert other["name"] != base["name"]
    assert other["output"] != base["output"]


def test_an_operator_upgrade_makes_no_result_worthless() -> None:
    before, after = World(), World()
    after.settings = before.settings.__class__(
        images={image: f"registry.example/{image}:2" for image in before.settings.images},
        artifact_store=before.settings.artifact_store,
        operator_version="9",
    )
    assert started(before, a_finetune())["name"] == started(after, a_finetune())["name"]


def test_created_again_it_has_the_same_output_and_says_that_it_was_there(world: World) -> None:
    world.put(a_finetune().obj())
    world.succeed("FineTune", "tuned", a_result(A))
    output = run_of(world)["output"]
    world.delete("FineTune", "tuned")

    world.put(a_finetune().with_(activeDeadlineSeconds=99).obj())
    world.succeed("FineTune", "tuned", a_result(A).model_copy(update={"reused": True}))

    assert run_of(world)["output"] == output
    assert world.reason("FineTune", "tuned") == "Reused"
    assert world.condition("FineTune", "tuned", "Succeeded")["status"] == "True"


def test_a_run_that_took_too_long_goes_on_when_it_is_created_again_with_more_time(world: World) -> None:
    """Its checkpoints lie beside its output, so the same output is the same checkpoints."""
    world.put(a_finetune().with_(activeDeadlineSeconds=60).obj())
    world.settle()
    first, job = run_of(world), world.get("Job", world.status("FineTune", "tuned")["job"])
    world.job_ends(job, "Failed", "DeadlineExceeded")
    world.settle()
    told = world.status("FineTune", "tuned")["failure"]
    assert told["reason"] == "DeadlineExceeded"
    assert "create it again with a longer deadline" in told["hint"]
    assert "goes on from its last checkpoint" in told["hint"]
    world.delete("FineTune", "tuned")

    world.put(a_finetune().with_(activeDeadlineSeconds=600).obj())
    world.settle()

    assert (run_of(world)["name"], run_of(world)["output"]) == (first["name"], first["output"])
    again = world.get("Job", world.status("FineTune", "tuned")["job"])
    assert again["spec"]["activeDeadlineSeconds"] == 600
    world.succeed("FineTune", "tuned", a_result(A))
    assert world.condition("FineTune", "tuned", "Succeeded")["status"] == "True"


def test_other_gates_are_the_same_run_and_another_verdict(world: World) -> None:
    made = an_evaluation().on("pvc://models/base")
    assert started(world, made.gated(0.5))["name"] == started(world, made.gated(0.9))["name"]


def test_what_was_resolved_stays_though_upstream_goes_before_the_start(world: World) -> None:
    world.put(a_finetune().obj())
    world.succeed("FineTune", "tuned", a_result(A))
    world.put(a_quantization().with_(suspend=True).obj())
    world.settle()
    assert world.reason("Quantization", "small") == "Suspended"
    world.delete("FineTune", "tuned")
    world.put(a_quantization().with_(suspend=False).obj())
    world.settle()
    assert world.reason("Quantization", "small") == "Starting"
    assert run_of(world, "Quantization", "small")["inputs"][0]["digest"] == A


def test_a_quota_that_refuses_a_job_does_not_forget_what_was_resolved(world: World) -> None:
    world.put(a_finetune().obj())
    world.succeed("FineTune", "tuned", a_result(A))
    world.refuse = {"Job": (403, "exceeded quota: none")}
    world.put(a_quantization().obj())
    world.settle()
    assert world.reason("Quantization", "small") == "QuotaExceeded"
    world.delete("FineTune", "tuned")
    world.refuse = {}
    world.settle()
    assert world.reason("Quantization", "small") == "Starting"


def test_a_circle_is_named(world: World) -> None:
    world.put(a_finetune("a").on("FineTune/b").obj())
    world.put(a_finetune("b").on("FineTune/c").obj())
    world.put(a_finetune("c").on("FineTune/a").obj())
    world.settle()
    for name in "abc":
        assert world.reason("FineTune", name) == "DependencyCycle"
        assert world.condition("FineTune", name, "Stalled")["status"] == "True"
    message = world.condition("FineTune", "a", "Ready")["message"]
    assert "FineTune/a -> FineTune/b -> FineTune/c -> FineTune/a" in message


def test_one_that_waits_for_a_circle_is_not_in_it(world: World) -> None:
    world.put(a_finetune("a").on("FineTune/b").obj())
    world.put(a_finetune("b").on("FineTune/a").obj())
    world.put(a_finetune("c").on("FineTune/a").obj())
    world.settle()
    assert world.reason("FineTune", "c") == "WaitingForInput"
    assert "it is stalled: DependencyCycle" in world.condition("FineTune", "c", "Ready")["message"]


# ------------------------------------------------------------------------------------------- two never write at once


def leave_a_pod(world: World) -> Any:
    """Start a run, and take its Job away while its pod goes on."""
    world.put(a_finetune().obj())
    world.settle()
    (job,) = world.of("Job")
    pod = world.pod_of(job)
    world.run(pod)
    world.objects.pop(("Job", job["metadata"]["name"]))
    return pod


def test_a_job_that_was_deleted_is_made_again_when_its_pod_has_ended(world: World) -> None:
    pod = leave_a_pod(world)
    world.settle()
    assert world.of("Job") == []
    assert world.reason("FineTune", "tuned") == "WaitingForEarlier"
    assert pod["metadata"]["name"] in world.condition("FineTune", "tuned", "Ready")["message"]

    world.objects.pop(("Pod", pod["metadata"]["name"]))
    world.settle()
    assert len(world.of("Job")) == 1


def test_nor_does_one_that_was_created_again_start_beside_the_pod_of_the_one_before(world: World) -> None:
    pod = leave_a_pod(world)
    world.objects.pop(("FineTune", "tuned"))
    world.objects.pop(("ConfigMap", pod["metadata"]["name"].removesuffix("-1")))
    world.put(a_finetune().obj())
    world.settle()
    assert world.of("Job") == []
    assert world.reason("FineTune", "tuned") == "WaitingForEarlier"

    # Other content writes elsewhere.
    world.delete("FineTune", "tuned")
    world.put(a_finetune().with_(hyperparameters={"seed": 9}).obj())
    world.settle()
    assert len(world.of("Job")) == 1


def test_an_earlier_ones_job_is_waited_for_and_an_orphan_is_a_conflict(world: World) -> None:
    world.put(a_finetune().obj())
    world.settle()
    (job,) = world.of("Job")
    world.objects.pop(("FineTune", "tuned"))
    world.put(a_finetune().obj())
    world.settle()
    assert world.reason("FineTune", "tuned") == "WaitingForEarlier"
    assert "of an earlier FineTune of this name" in world.condition("FineTune", "tuned", "Ready")["message"]

    for references in ([], [{"kind": "CronJob", "name": "tuned", "uid": "else", "controller": True}]):
        job["metadata"]["ownerReferences"] = references
        world.settle()
        assert world.reason("FineTune", "tuned") == "NameConflict"
    assert world.reason("FineTune", "tuned") == "NameConflict"
    assert world.condition("FineTune", "tuned", "Stalled")["status"] == "True"

    world.objects.pop(("Job", job["metadata"]["name"]))
    world.objects.pop(("ConfigMap", job["metadata"]["name"]))
    world.settle()
    assert world.reason("FineTune", "tuned") == "Starting"


def test_a_job_that_a_selector_lost_is_not_made_a_second_time(world: World) -> None:
    """Somebody took its label away: the cache says gone, the API server says there."""
    world.put(a_finetune().obj())
    world.settle()
    (job,) = world.of("Job")
    world.run(world.pod_of(job))
    world.settle()
    world.lag = {"Job": 1_000}
    world.step("FineTune", "tuned")
    assert world.of("Job") == [job]
    assert job["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "speechless-operator"


# -------------------------------------------------------------------------------------------------- a result is lost


def test_a_result_that_went_with_its_pod_is_got_by_running_once_more(world: World) -> None:
    world.put(a_finetune().obj())
    world.settle()
    (job,) = world.of("Job")
    world.job_ends(job)
    world.pass_time(3600)
    world.settle()

    assert [j["metadata"]["name"] for j in world.of("Job")] == [f"{job['metadata']['name']}-2"]
    assert run_of(world)["attempt"] == 2
    world.succeed("FineTune", "tuned", a_result(A).model_copy(update={"reused": True}))
    assert world.reason("FineTune", "tuned") == "Reused"


def test_a_pod_that_only_the_cache_does_not_know_is_read(world: World) -> None:
    world.put(a_finetune().obj())
    world.settle()
    (job,) = world.of("Job")
    world.end(world.pod_of(job), a_result(A))
    world.job_ends(job)
    world.lag = {"Pod": 1_000}
    world.settle()
    assert world.reason("FineTune", "tuned") == "Succeeded"


def test_what_is_lost_twice_is_given_up(world: World) -> None:
    world.put(a_finetune().obj())
    for _ in range(2):
        world.settle()
        (job,) = world.of("Job")
        world.end(world.pod_of(job), "{no result")
        world.job_ends(job)
    world.settle()
    assert world.reason("FineTune", "tuned") == "ResultMissing"
    assert "the Job completed 2 times" in world.status("FineTune", "tuned")["failure"]["message"]


# ----------------------------------------------------------------------------------------------- reading what is kept


def test_what_is_read_back_is_read_tolerantly() -> None:
    odd = {"name": "x", "attempt": "many", "inputs": [{"uri": 1}, None, {"name": "m", "uri": "u"}], "new": 1}
    assert Run.read(odd) == Run((Input("m", "u"),), None, "x")
    assert Run.read({"attempt": 1}) is None
    assert Run.from_json("not json") is None
    assert Run.from_json(None) is None
    assert Run.from_json('{"inputs": {}, "output": 5}') == Run(())
    whole = Run((Input("m", "u", A, "FineTune", "r", "1", 2, "GGUF", 3, 4),), "pvc://o", "x", 2, True, 1)
    assert Run.read(whole.status()) == whole, "what was decided is read back whole"
    before = Run((Input("m", "pvc://a/b", digest=B, format="GGUF", size_bytes=7, generation=1),), "pvc://o")
    assert Run.from_json(before.to_json()) == before
