"""Who may start a run's Job; and runs of several Jobs and ranks."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from speechless_operator.desired.job import INDEX
from speechless_operator.desired.objects import Object
from speechless_operator.plan import Plan
from speechless_operator.plan.accept import Accepted
from speechless_operator.plan.finetune import FINE_TUNE
from speechless_operator.plan.kinds import RUNS, plan
from speechless_operator.plan.runkind import Part
from speechless_operator.plan.running import plan_run
from tests.unit.operator.make import A, B, a_finetune, a_result
from tests.unit.operator.world import World, container


@pytest.fixture
def world() -> World:
    return World()


def only_job(world: World) -> Any:
    """The one Job."""
    (job,) = world.of("Job")
    return job


def workload(world: World, job: Object, **conditions: tuple[str, str, str]) -> Object:
    """What Kueue says of a Job: type to status, reason and message."""
    return world.put(
        {
            "kind": "Workload",
            "metadata": {
                "name": f"job-{job['metadata']['name']}",
                "ownerReferences": [{"kind": "Job", "uid": job["metadata"]["uid"], "controller": True}],
            },
            "spec": {"queueName": "lq"},
            "status": {
                "conditions": [
                    {"type": kind, "status": status, "reason": reason, "message": message}
                    for kind, (status, reason, message) in conditions.items()
                ]
            },
        }
    )


# ----------------------------------------------------------------------------------------------------------- by Kueue


def test_a_queued_run_is_made_suspended_and_tells_why_it_waits(world: World) -> None:
    world.put(a_finetune().with_(queueName="lq").obj())
    world.settle()
    job = only_job(world)
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "lq"
    assert job["spec"]["suspend"] is True
    assert world.reason("FineTune", "tuned") == "Queued"

    workload(world, job, QuotaReserved=("False", "Pending", "insufficient quota for cpu"))
    world.settle()
    admitted = world.condition("FineTune", "tuned", "Admitted")
    assert admitted["message"] == "waits in queue lq: Pending: insufficient quota for cpu"
    assert world.condition("FineTune", "tuned", "Reconciling") == {}
    assert world.condition("FineTune", "tuned", "Stalled") == {}
    assert world.status("FineTune", "tuned")["phase"] == "Suspended"


def test_what_kueue_starts_and_stops_is_kueues(world: World) -> None:
    world.put(a_finetune().with_(queueName="lq").obj())
    world.settle()
    job = only_job(world)
    for admitted in (True, False, True):
        job["spec"]["suspend"] = not admitted
        why = ("True", "Preempted", "to accommodate a workload of higher priority")
        workload(world, job, **({} if admitted else {"Evicted": why}))
        world.settle()
        assert only_job(world)["spec"]["suspend"] is not admitted
        assert world.reason("FineTune", "tuned") == ("Starting" if admitted else "Queued")
    assert "patch Job" not in world.writes


def test_a_user_who_suspends_wins_over_the_queue(world: World) -> None:
    world.put(a_finetune().with_(queueName="lq").obj())
    world.settle()
    only_job(world)["spec"]["suspend"] = False
    world.put(a_finetune().with_(queueName="lq", suspend=True).obj())
    world.settle()
    assert world.of("Job") == [], "what shall not run holds no quota"
    assert world.reason("FineTune", "tuned") == "Suspended"
    world.put(a_finetune().with_(queueName="lq", suspend=False).obj())
    world.settle()
    assert only_job(world)["spec"]["suspend"] is True
    assert world.reason("FineTune", "tuned") == "Queued"


# ------------------------------------------------------------------------------------------------- by somebody else


def test_a_foreign_suspension_is_told_and_not_fought(world: World) -> None:
    world.put(a_finetune().obj())
    world.settle()
    only_job(world)["spec"]["suspend"] = True
    world.settle()
    assert only_job(world)["spec"]["suspend"] is True
    assert world.reason("FineTune", "tuned") == "HeldByOthers"
    assert "spec.suspend of Job" in world.condition("FineTune", "tuned", "Ready")["message"]
    only_job(world)["spec"]["suspend"] = False
    world.settle()
    assert world.reason("FineTune", "tuned") == "Starting"


def test_the_operators_own_suspension_is_taken_back_by_the_operator(world: World) -> None:
    world.put(a_finetune().obj())
    world.settle()
    for suspend in (True, False):
        world.put(a_finetune().with_(suspend=suspend).obj())
        world.settle()
        assert only_job(world)["spec"]["suspend"] is suspend
    only_job(world)["spec"]["suspend"] = True
    world.settle()
    assert world.reason("FineTune", "tuned") == "HeldByOthers", "this one is somebody else's again"


# ------------------------------------------------------------------------------------------------------- a sidecar


def beside(world: World, code: int, message: str = "") -> Object:
    """The stage has ended, an injected proxy goes on."""
    pod = world.pod_of(only_job(world))
    ended = {"exitCode": code, "reason": "Completed", "message": message, "finishedAt": world.time()}
    proxy = {"name": "istio-proxy", "state": {"running": {"startedAt": world.time()}}}
    pod["status"] = {"phase": "Running", "containerStatuses": [container(terminated=ended), proxy]}
    world.settle()
    return pod


def test_a_sidecar_does_not_keep_a_run_alive(world: World) -> None:
    world.put(a_finetune().obj())
    world.settle()
    pod = world.pod_of(only_job(world))
    beside(world, 0, world.of_the_run(pod, a_result(A)).termination_message())
    assert world.reason("FineTune", "tuned") == "SidecarRunning"
    assert "istio-proxy" in world.condition("FineTune", "tuned", "Ready")["message"]
    world.pass_time(31)
    world.settle()
    assert world.reason("FineTune", "tuned") == "Succeeded"
    assert world.of("Job") == [], "with the Job its pod goes"


def test_nor_a_failed_one_and_a_passing_failure_is_tried_again(world: World) -> None:
    world.put(a_finetune().with_(backoffLimit=1).obj())
    world.settle()
    for attempt in (1, 2):
        assert world.status("FineTune", "tuned")["run"]["attempt"] == attempt
        beside(world, 75)
        world.pass_time(31)
        world.settle()
    assert world.condition("FineTune", "tuned", "Failed")["status"] == "True"


# --------------------------------------------------------------------------------------------------- several children


def _sum(found: Any) -> Accepted:
    first, *_ = found
    return replace(first, metrics={"loss": sum(each.metrics["loss"] for each in found)})


SHARDED = replace(
    FINE_TUNE, parts=lambda spec: tuple(Part(f"s{n}", ranks=2) for n in range(3)), merge=_sum
)  # fmt: skip


def sharded() -> World:
    """A world whose FineTunes run in three parts of two ranks."""
    world = World()
    world.planner = partial(_planned, {**RUNS, "FineTune": SHARDED})
    world.put(a_finetune().obj())
    world.settle()
    return world


def _planned(kinds: Any, observed: Any, now: Any) -> Plan:
    return plan_run(kinds[observed.obj["kind"]], observed, now)


def finish(world: World, job: Object, loss: float) -> None:
    """Both ranks of a part end; rank 0 speaks."""
    for rank in (0, 1):
        pod = world.pod_of(job, rank)
        pod["metadata"]["labels"][INDEX] = str(rank)
        world.end(pod, a_result(B, loss=loss) if rank == 0 else "nothing to say")
    world.job_ends(job)
    world.settle()


def test_a_run_of_several_jobs_ends_when_the_last_one_does() -> None:
    world = sharded()
    jobs = world.of("Job")
    run = world.status("FineTune", "tuned")["run"]["name"]
    assert [job["metadata"]["name"] for job in jobs] == [f"tuned-ft-{run}-s{n}" for n in range(3)]
    assert {(j["spec"]["completions"], j["spec"]["completionMode"]) for j in jobs} == {(2, "Indexed")}
    assert len(world.of("ConfigMap")) == 3
    for number, job in enumerate(jobs):
        assert world.condition("FineTune", "tuned", "Succeeded") == {}
        finish(world, job, loss=number)
    assert world.reason("FineTune", "tuned") == "Succeeded"
    assert world.status("FineTune", "tuned")["metrics"] == [{"name": "loss", "value": 3.0}]
    assert world.of("Job") == world.of("ConfigMap") == []


def test_one_part_that_fails_ends_the_run_and_the_others() -> None:
    world = sharded()
    first, second, _ = world.of("Job")
    finish(world, first, loss=1)
    world.end(world.pod_of(second, 0), "no", code=65)
    world.job_ends(second, "Failed", "PodFailurePolicy")
    world.settle()
    assert world.condition("FineTune", "tuned", "Failed")["status"] == "True"
    assert world.of("Job") == []


def test_a_part_that_somebody_deleted_is_made_again_alone() -> None:
    world = sharded()
    first, second, third = world.of("Job")
    world.delete("Job", second["metadata"]["name"])
    world.settle()
    assert {j["metadata"]["uid"] for j in world.of("Job")} > {
        first["metadata"]["uid"],
        third["metadata"]["uid"],
    }
    assert len(world.of("Job")) == 3


def test_a_lost_part_runs_again_with_the_others() -> None:
    world = sharded()
    for job in world.of("Job"):
        world.job_ends(job)
    world.settle()
    assert world.status("FineTune", "tuned")["run"]["attempt"] == 2
    assert all(job["metadata"]["name"].endswith("-2") for job in world.of("Job"))


def test_a_kind_that_has_something_to_finish_is_asked_before_its_resource_goes() -> None:
    world = World()
    obj = world.put(a_finetune().obj())
    obj["metadata"]["deletionTimestamp"] = world.time()
    assert plan(world.observed("FineTune", "tuned"), world.now) == Plan()
    asked = replace(FINE_TUNE, finalize=lambda observed: Plan(requeue_after=observed.owner.generation))
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(RUNS, "FineTune", asked)  # type: ignore[arg-type]
        assert plan(world.observed("FineTune", "tuned"), world.now) == Plan(requeue_after=1)
