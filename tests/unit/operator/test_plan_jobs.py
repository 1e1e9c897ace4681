"""FineTune, Evaluation, Quantization: every way from waiting to the end, without a cluster."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from speechless.contract import FailureReason, Format, Metric, parse_spec
from speechless.contract.spec import FineTuneSpec, QuantizeSpec
from tests.unit.operator.make import (
    A,
    B,
    D,
    a_failure,
    a_finetune,
    a_quantization,
    a_result,
    a_score,
    an_evaluation,
)
from tests.unit.operator.world import SETTINGS, World, container


@pytest.fixture
def world() -> World:
    return World()


def job(world: World, kind: str = "FineTune", name: str = "tuned") -> Any:
    """A resource's Job."""
    return world.get("Job", world.status(kind, name)["job"])


def stage_spec(world: World, kind: str, name: str) -> Any:
    """What the stage is told."""
    name = world.status(kind, name)["job"]
    return parse_spec(world.get("ConfigMap", name)["data"]["stage.json"])


def test_a_resource_that_needs_nothing_starts_at_once(world: World) -> None:
    world.put(a_finetune().with_(lora={"r": 8}, hyperparameters={"maxSteps": 3}).obj())

    world.settle()

    assert world.reason("FineTune", "tuned") == "Starting"
    assert world.condition("FineTune", "tuned", "Reconciling")["status"] == "True"
    told = stage_spec(world, "FineTune", "tuned")
    assert isinstance(told, FineTuneSpec)
    assert (told.model.uri, told.dataset.uri, told.lora and told.lora.r) == (
        "pvc://models/base", "pvc://models/rows.jsonl", 8,
    )  # fmt: skip
    assert told.hyperparameters.max_steps == 3
    assert told.hyperparameters.learning_rate is None
    assert told.mounts == {"artifacts": "/mnt/pvc/artifacts", "models": "/mnt/pvc/models"}
    run = world.status("FineTune", "tuned")["run"]
    assert told.output == run["output"] == f"pvc://artifacts/store/demo/finetune/tuned/{run['name']}"
    assert told.run.name == "tuned"


def test_an_own_output_takes_the_place_of_the_store(world: World) -> None:
    world.put(a_finetune().with_(output={"uri": "pvc://mine/here/"}).obj())
    world.settle()
    assert stage_spec(world, "FineTune", "tuned").output.startswith("pvc://mine/here/demo/finetune/tuned/")


def test_an_artifact_is_read_with_the_secret_that_it_was_written_with(world: World) -> None:
    output = {"uri": "s3://mine/here", "secretRef": {"name": "keys"}}
    world.put(a_finetune().with_(output=output).obj())
    world.settle()
    world.succeed("FineTune", "tuned", a_result(A))
    world.put(a_quantization().obj())
    world.settle()
    told = stage_spec(world, "Quantization", "small")
    assert told.model.secret_ref
    assert told.model.secret_ref.name == "keys"
    assert told.secrets == {"keys": "/mnt/secrets/keys"}


def test_the_administrators_store_has_its_own_secret() -> None:
    world = World(replace(SETTINGS, artifact_store="s3://all/here", artifact_store_secret="theirs"))
    world.put(a_finetune().obj())
    world.settle()
    assert world.condition("FineTune", "tuned", "Ready")["message"] == (
        "the Job's pod is made and starts; it needs the Secret theirs"
    )
    told = stage_spec(world, "FineTune", "tuned")
    assert told.output_secret_ref
    assert told.output_secret_ref.name == "theirs"
    assert told.output.startswith("s3://all/here/demo/finetune/tuned/")


def test_a_secret_for_a_claim_is_refused(world: World) -> None:
    world.put(a_finetune().with_(output={"uri": "pvc://mine/here", "secretRef": {"name": "keys"}}).obj())
    world.settle()
    message = world.condition("FineTune", "tuned", "Ready")["message"]
    assert "spec.output.secretRef: pvc:// takes no Secret: remove it" in message


def test_what_is_waited_for_is_named_and_wakes(world: World) -> None:
    world.put(a_quantization().obj())
    world.settle()
    assert world.condition("Quantization", "small", "Ready")["message"] == (
        "waits for FineTune tuned, which does not exist yet"
    )
    world.put(a_finetune().obj())
    world.settle()
    assert world.condition("Quantization", "small", "Ready")["message"] == (
        "waits for FineTune tuned, which is not finished"
    )

    world.succeed("FineTune", "tuned", a_result(A))

    told = stage_spec(world, "Quantization", "small")
    assert isinstance(told, QuantizeSpec)
    assert told.model.digest == A
    (model,) = world.status("Quantization", "small")["inputs"]
    tuned = world.get("FineTune", "tuned")["metadata"]
    assert model == {
        "name": "model", "kind": "FineTune", "resource": "tuned", "uid": tuned["uid"], "generation": 1,
        "uri": world.status("FineTune", "tuned")["run"]["output"], "digest": A, "format": "HuggingFace", "sizeBytes": 7,
    }  # fmt: skip


def test_success_records_artifact_digests_metrics_and_provenance(world: World) -> None:
    world.put(a_finetune().obj())

    world.succeed("FineTune", "tuned", a_result(A, loss=0.5))

    status = world.status("FineTune", "tuned")
    assert status["artifact"]["digest"] == A
    assert status["metrics"] == [{"name": "loss", "value": 0.5}]
    assert status["inputs"][0]["digest"] == D, "a plain uri's digest is what the run measured"
    assert status["provenance"]["versions"] == {"torch": "2.9"}
    assert status["provenance"]["imageDigest"] == "registry.example/x@sha256:abc"
    assert status["progress"]["percent"] == 100
    assert status["phase"] == "Succeeded"
    assert [c["type"] for c in status["conditions"]] == ["Ready", "Succeeded", "InputsResolved"]
    assert world.of("Job") == world.of("ConfigMap") == [], "what an ended run needed goes with its end"


def test_a_run_that_started_keeps_its_inputs_whatever_becomes_of_upstream(world: World) -> None:
    world.put(a_finetune().obj())
    world.put(a_quantization().obj())
    world.succeed("FineTune", "tuned", a_result(A))
    before = stage_spec(world, "Quantization", "small")

    world.delete("FineTune", "tuned")
    world.put(a_finetune().obj())
    world.succeed("FineTune", "tuned", a_result(B))
    world.delete("ConfigMap", world.status("Quantization", "small")["job"])
    world.settle()

    assert stage_spec(world, "Quantization", "small") == before
    assert world.status("Quantization", "small")["inputs"][0]["digest"] == A


def test_the_end_is_never_overwritten(world: World) -> None:
    world.put(a_finetune().obj())
    world.succeed("FineTune", "tuned", a_result(A))
    ended = world.condition("FineTune", "tuned", "Succeeded")

    world.objects = {key: obj for key, obj in world.objects.items() if key[0] == "FineTune"}
    world.pass_time(3600)
    changed = world.get("FineTune", "tuned")
    world.put(changed | {"spec": changed["spec"] | {"suspend": True}})
    world.settle()

    assert world.of("Job") == []
    assert world.condition("FineTune", "tuned", "Succeeded") == ended | {"observedGeneration": 2}
    assert world.status("FineTune", "tuned")["observedGeneration"] == 2


@pytest.mark.parametrize(
    ("result", "code", "how", "reason", "part"),
    [
        (
            a_failure(FailureReason.DATASET_INVALID, "rows.jsonl:3: no"),
            65,
            {},
            "DatasetInvalid",
            "rows.jsonl:3",
        ),
        (a_failure(FailureReason.INVALID_SPEC, "lora: no"), 64, {}, "InvalidSpec", "lora: no"),
        ("", 137, {"reason": "OOMKilled"}, "OOMKilled", "out of memory"),
        ("", 77, {}, "OutOfMemory", "exit code 77"),
        ("Killed by hand", 1, {}, "StageFailed", "exit code 1 (Error): Killed by hand"),
        ("{not json", 70, {}, "StageFailed", "exit code 70"),
    ],
)
def test_how_a_run_failed_is_told(
    world: World, result: Any, code: int, how: dict[str, str], reason: str, part: str
) -> None:
    world.put(a_finetune().obj())
    world.settle()
    name = world.status("FineTune", "tuned")["job"]
    world.logs[f"{name}-1"] = "\n".join(f"line {number}" for number in range(100))

    world.fail("FineTune", "tuned", result, code, **how)

    failure = world.status("FineTune", "tuned")["failure"]
    assert failure["reason"] == reason
    assert part in failure["message"]
    assert failure["exitCode"] == code
    assert failure["logTail"].splitlines() == [f"line {number}" for number in range(80, 100)]
    assert world.condition("FineTune", "tuned", "Failed")["reason"] == reason
    assert [event.warning for _, event in world.events if event.reason == reason] == [True]


def test_a_log_is_asked_for_before_the_end_is_told(world: World) -> None:
    from speechless_operator.plan import plan

    world.put(a_finetune().obj())
    world.settle()
    world.end(world.pod_of(job(world)), code=65)
    world.job_ends(job(world), "Failed")

    first = plan(world.observed("FineTune", "tuned"), world.now)

    assert first.logs == (f"{job(world)['metadata']['name']}-1",)
    assert first.status is None


def test_a_job_that_failed_without_a_pod_says_what_it_knows(world: World) -> None:
    world.put(a_finetune().obj())
    world.settle()
    world.job_ends(job(world), "Failed", "BackoffLimitExceeded")
    world.settle()
    assert (
        "its pods are gone: BackoffLimitExceeded" in world.status("FineTune", "tuned")["failure"]["message"]
    )


def test_out_of_memory_ends_the_job_early(world: World) -> None:
    world.put(a_finetune().obj())
    world.settle()
    world.end(world.pod_of(job(world)), code=137, reason="OOMKilled")

    world.settle()

    assert job(world)["spec"]["backoffLimit"] == 0


def test_suspend_and_resume_reach_the_job(world: World) -> None:
    made = a_finetune().with_(suspend=True)
    world.put(made.obj())
    world.settle()
    assert world.reason("FineTune", "tuned") == "Suspended"
    assert world.of("Job") == []

    world.put(made.with_(suspend=False).obj())
    world.settle()
    assert job(world)["spec"]["suspend"] is False
    world.put(made.with_(suspend=True).obj())
    world.settle()
    assert job(world)["spec"]["suspend"] is True
    assert world.status("FineTune", "tuned")["phase"] == "Suspended"


def test_a_resource_goes_when_its_time_has_come(world: World) -> None:
    world.put(a_finetune().with_(ttlSecondsAfterFinished=60).obj())
    world.succeed("FineTune", "tuned", a_result(A))
    world.pass_time(20)
    assert world.step("FineTune", "tuned").requeue_after == 40
    world.pass_time(40)
    world.step("FineTune", "tuned")
    assert ("FineTune", "tuned") not in world.objects


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"model": {"uri": "file:///m"}}, "spec.model.uri: file:// is not allowed"),
        ({"dataset": {"uri": "file:///m"}}, "spec.dataset.uri: file:// is not allowed"),
        ({"output": {"uri": "file:///m"}}, "spec.output.uri: a pod's own files"),
        ({"model": {}}, "spec.model: set exactly one of"),
        ({"hyperparameters": {"learningRate": 2}}, "spec.hyperparameters.learningRate: "),
        ({"backoffLimit": "many"}, "spec.backoffLimit: "),
        ({"method": "Full", "lora": {}}, "lora goes with method LoRA"),
    ],
)
def test_a_spec_that_is_wrong_stalls_with_the_fields_path(world: World, spec: Any, path: str) -> None:
    world.put(a_finetune().with_(**spec).obj())
    world.settle()
    assert world.condition("FineTune", "tuned", "Stalled")["reason"] == "InvalidSpec"
    assert path in world.condition("FineTune", "tuned", "Ready")["message"]
    assert world.of("Job") == []


@pytest.mark.parametrize(
    ("change", "path"),
    [({"artifact_store": ""}, "spec.output.uri"), ({"images": {}}, "spec.pod.image")],
)
def test_what_the_administrator_left_out_must_be_said(change: Any, path: str) -> None:
    world = World(replace(SETTINGS, **change))
    world.put(a_finetune().obj())
    world.settle()
    assert path in world.condition("FineTune", "tuned", "Stalled")["message"]


def test_code_runs_only_where_the_administrator_agrees() -> None:
    world = World(replace(SETTINGS, allow_code_execution=False))
    world.put(an_evaluation().on("pvc://models/base").obj())
    world.settle()
    assert world.reason("Evaluation", "scored") == "CodeExecutionNotAllowed"
    assert world.of("Job") == []


@pytest.mark.parametrize(
    ("made", "form", "advice"),
    [
        (a_quantization(), Format.ADAPTER, "create the FineTune with merge: true"),
        (a_quantization(), Format.GGUF, "name a HuggingFace model"),
        (an_evaluation("small").on("FineTune/tuned"), Format.ADAPTER, "merge: true"),
    ],
)
def test_an_artifact_of_the_wrong_format_starts_no_pod(
    world: World, made: Any, form: Format, advice: str
) -> None:
    world.put(a_finetune().obj())
    world.succeed("FineTune", "tuned", a_result(A, form))
    kind = world.put(made.obj())["kind"]
    world.settle()
    assert advice in world.condition(kind, "small", "Stalled")["message"]


def test_an_upstream_that_failed_stalls_and_its_replacement_mends(world: World) -> None:
    world.put(a_quantization().obj())
    world.put(a_finetune().obj())
    world.fail("FineTune", "tuned", a_failure(FailureReason.LOSS_NOT_FINITE, "loss is NaN"))
    assert world.reason("Quantization", "small") == "UpstreamFailed"
    assert "LossNotFinite: loss is NaN" in world.condition("Quantization", "small", "Stalled")["message"]
    world.delete("FineTune", "tuned")
    world.put(a_finetune().obj())
    world.succeed("FineTune", "tuned", a_result(A))
    assert world.reason("Quantization", "small") == "Starting"


@pytest.mark.parametrize(
    ("score", "passed", "reason", "message"),
    [
        (0.6, "True", "GatesPassed", "humaneval/pass@1 0.6 >= 0.6"),
        (0.599, "False", "GateFailed", "humaneval/pass@1 0.599 < 0.6"),
    ],
)
def test_gates_decide_whether_an_evaluation_passed(
    world: World, score: float, passed: str, reason: str, message: str
) -> None:
    world.put(an_evaluation().on("pvc://models/base").gated(0.6).obj())
    world.succeed("Evaluation", "scored", a_score(score))
    found = world.condition("Evaluation", "scored", "Passed")
    assert (found["status"], found["reason"], found["message"]) == (passed, reason, message)
    assert world.condition("Evaluation", "scored", "Ready")["status"] == "True", "it ran well either way"


def test_the_score_of_the_table_leaves_out_what_is_counted_beside_it(world: World) -> None:
    beside = tuple(Metric(name=f"humaneval/{name}", value=3) for name in ("samples", "timeouts", "errors"))
    scored = a_score(0.9)
    world.put(an_evaluation().on("pvc://models/base").obj())
    world.succeed("Evaluation", "scored", scored.model_copy(update={"metrics": (*beside, *scored.metrics)}))
    status = world.status("Evaluation", "scored")
    assert status["score"] == "humaneval/pass@1 0.9"
    assert len(status["metrics"]) == 4


def test_a_gate_on_what_was_not_measured_says_what_was(world: World) -> None:
    world.put(an_evaluation().on("pvc://models/base").gated(0.6, "text/perplexity").obj())
    world.succeed("Evaluation", "scored", a_score(0.9))
    assert world.condition("Evaluation", "scored", "Passed")["message"] == (
        "not measured: text/perplexity; measured: humaneval/pass@1"
    )


def test_without_gates_nothing_passed_and_nothing_failed(world: World) -> None:
    world.put(an_evaluation().on("pvc://models/base").obj())
    world.succeed("Evaluation", "scored", a_score(0.9))
    assert world.condition("Evaluation", "scored", "Passed") == {}


NO_IMAGE = container(waiting={"reason": "ErrImagePull", "message": "no"})
NO_NODE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}


@pytest.mark.parametrize(
    ("status", "reason", "part"),
    [
        ({"phase": "Running", "containerStatuses": [container(running={})]}, "Running", "runs"),
        ({"phase": "Pending"}, "Starting", "starts"),
        ({"phase": "Pending", "containerStatuses": [NO_IMAGE]}, "ImagePullFailed", "ErrImagePull: no"),
        ({"phase": "Pending", "conditions": [NO_NODE]}, "Unschedulable", "0/3 nodes"),
        # Two that write the status at the same time: the node's word is the newer one, whatever the scheduler left.
        (
            {"phase": "Running", "conditions": [NO_NODE], "containerStatuses": [container(running={})]},
            "Running",
            "runs",
        ),
    ],
)
def test_what_a_pod_does_is_told(world: World, status: Any, reason: str, part: str) -> None:
    world.put(a_finetune().obj())
    world.settle()
    world.pod_of(job(world))["status"] = status
    world.settle()
    assert world.reason("FineTune", "tuned") == reason
    assert part in world.condition("FineTune", "tuned", "Ready")["message"]


def test_pods_that_the_api_server_refuses_are_told(world: World) -> None:
    world.put(a_finetune().obj())
    world.settle()
    world.put(
        {
            "kind": "Event",
            "metadata": {"name": "refused"},
            "involvedObject": {"kind": "Job", "uid": job(world)["metadata"]["uid"]},
            "reason": "FailedCreate",
            "message": 'Error creating: pods "x" is forbidden: violates PodSecurity "restricted:latest": ...',
            "lastTimestamp": world.time(),
        }
    )
    world.settle()
    assert world.reason("FineTune", "tuned") == "PodRefused"


def test_a_refused_child_is_told_and_tried_again(world: World) -> None:
    world.put(a_finetune().obj())
    world.refuse = {"Job": (403, "exceeded quota: none")}
    plan = world.step("FineTune", "tuned")
    assert plan.apply, "it is tried again"
    assert world.reason("FineTune", "tuned") == "QuotaExceeded"
    world.refuse = {}
    world.settle()
    assert world.reason("FineTune", "tuned") == "Starting"


def test_a_status_time_changes_only_with_its_status(world: World) -> None:
    world.put(a_finetune().obj())
    world.settle()
    first = world.condition("FineTune", "tuned", "Ready")["lastTransitionTime"]
    world.pass_time(60)
    world.run(world.pod_of(job(world)))
    world.settle()
    assert world.condition("FineTune", "tuned", "Ready")["lastTransitionTime"] == first
    assert world.reason("FineTune", "tuned") == "Running"


def test_a_start_is_told_once_whether_pod_or_job_is_seen_first(world: World) -> None:
    world.put(a_finetune().obj())
    world.settle()
    pod = world.pod_of(job(world))
    began = world.time()
    world.pass_time(5)
    world.run(pod)
    world.settle()
    assert world.status("FineTune", "tuned")["startTime"] == began
    told = world.get("FineTune", "tuned")["metadata"]["resourceVersion"]
    world.put(job(world) | {"status": {"startTime": world.time()}})
    world.settle()
    assert world.get("FineTune", "tuned")["metadata"]["resourceVersion"] == told


def test_events_tell_every_transition_once(world: World) -> None:
    world.put(a_finetune().obj())
    world.succeed("FineTune", "tuned", a_result(A))
    world.settle()
    assert [event.reason for _, event in world.events] == ["Succeeded"], "the ordinary way is in the status"


def test_no_field_reaches_a_command_line(world: World) -> None:
    evil = "$(rm -rf /); `id` && echo"
    made = a_finetune().with_(
        model={"uri": f"pvc://models/{evil}"}, pod={"env": [{"name": "A", "value": "$(HOME) $$"}]}
    )
    world.put(made.obj())
    world.settle()
    spec = job(world)["spec"]["template"]["spec"]["containers"][0]
    assert spec["command"] == [
        "python", "-m", "speechless.stage", "finetune", "--spec", "/etc/speechless/stage.json",
    ]  # fmt: skip
    assert "args" not in spec
    assert spec["env"][1] == {"name": "A", "value": "$$(HOME) $$$$"}
    assert stage_spec(world, "FineTune", "tuned").model.uri == f"pvc://models/{evil}"
    assert evil not in json.dumps(spec)
