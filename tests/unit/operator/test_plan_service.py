"""InferenceService: gates, revisions, failures, without a cluster."""

from __future__ import annotations

from typing import Any

import pytest

from speechless.contract import FailureReason, Format, parse_spec
from speechless.contract.spec import ServeSpec
from speechless_operator.desired.service import selected_revision
from tests.unit.operator.make import (
    A,
    B,
    C,
    a_failure,
    a_finetune,
    a_quantization,
    a_result,
    a_score,
    a_service,
    an_evaluation,
)
from tests.unit.operator.world import World, container


@pytest.fixture
def world() -> World:
    """With a quantized model."""
    return with_a_model()


def with_a_model() -> World:
    """A quantized model of a FineTune."""
    made = World()
    made.put(a_finetune().obj())
    made.put(a_quantization().obj())
    made.succeed("FineTune", "tuned", a_result(A))
    made.succeed("Quantization", "small", a_result(B, Format.GGUF))
    return made


def only(world: World, kind: str) -> Any:
    """The one object of a kind that belongs to the service."""
    (found,) = [
        o
        for o in world.of(kind)
        if o["metadata"].get("labels", {}).get("speechless.dev/kind") == "InferenceService"
    ]
    return found


def services(world: World) -> list[str]:
    """The names of the Services, the stable one among them or not."""
    return sorted(o["metadata"]["name"] for o in world.of("Service"))


def stable(world: World) -> Any:
    """The Service that clients ask."""
    return world.get("Service", "chat")


def requantize(world: World, digest: str) -> None:
    """The same name, another artifact."""
    world.delete("Quantization", "small")
    world.put(a_quantization().obj())
    world.succeed("Quantization", "small", a_result(digest, Format.GGUF))


def score(world: World, value: float) -> None:
    """Score what is there now."""
    if ("Evaluation", "scored") in world.objects:
        world.delete("Evaluation", "scored")
    world.put(an_evaluation().gated(0.6).obj())
    world.succeed("Evaluation", "scored", a_score(value))


def start(world: World, *evaluations: str) -> None:
    """A service, served if its gate lets it."""
    made = a_service()
    world.put((made.behind(*evaluations) if evaluations else made).obj())
    world.settle()
    for deployment in world.of("Deployment"):
        world.serve(deployment)
    world.settle()


def test_without_a_gate_a_model_is_served_when_it_is_ready(world: World) -> None:
    world.put(a_service().with_(contextLength=2048, parallel=2, engineArgs=["--temp", "0; rm -rf /"]).obj())
    world.settle()
    revision = world.status("InferenceService", "chat")["revision"]
    assert services(world) == [f"chat-slis-{revision}"], "its own, and not yet the one that clients ask"
    assert world.reason("InferenceService", "chat") == "RollingOut"
    told = parse_spec(only(world, "ConfigMap")["data"]["stage.json"])
    assert isinstance(told, ServeSpec)
    assert (told.model.digest, told.model_name, told.context_length) == (B, "chat", 2048)
    assert told.engine_args == ("--temp", "0; rm -rf /")

    world.serve(only(world, "Deployment"))
    world.settle()

    status = world.status("InferenceService", "chat")
    assert status["url"] == "http://chat.demo.svc/v1"
    assert status["artifact"] == {
        "uri": world.status("Quantization", "small")["run"]["output"],
        "digest": B,
        "sizeBytes": 7,
        "format": "GGUF",
    }
    assert status["revision"] == status["servingRevision"] == selected_revision(stable(world))
    assert [c["type"] for c in status["conditions"]] == ["Ready", "ModelResolved", "Progressing", "Available"]
    assert status["phase"] == "Ready"


def test_a_model_that_is_not_there_is_waited_for(world: World) -> None:
    world.put(a_service().on("Quantization/later").obj())
    world.settle()
    assert world.reason("InferenceService", "chat") == "WaitingForInput"
    assert world.condition("InferenceService", "chat", "ModelResolved")["status"] == "False"


def test_an_engine_gets_only_what_it_can_serve(world: World) -> None:
    world.put(a_service().on("FineTune/tuned").obj())
    world.settle()
    assert "add a Quantization of it" in world.condition("InferenceService", "chat", "Stalled")["message"]


def absent(world: World) -> None:
    """No Evaluation."""


def running(world: World) -> None:
    """One that is not finished."""
    world.put(an_evaluation().gated(0.6).obj())


def failed_its_gate(world: World) -> None:
    """One whose number is too low."""
    score(world, 0.41)


def without_gates(world: World) -> None:
    """One that does not judge."""
    world.put(an_evaluation().obj())
    world.succeed("Evaluation", "scored", a_score(1))


def failed(world: World) -> None:
    """One that did not come to a number."""
    world.put(an_evaluation().gated(0).obj())
    world.fail("Evaluation", "scored", a_failure(FailureReason.NOTHING_SCORED, "no sample"))


def of_another_artifact(world: World) -> None:
    """One of another model."""
    world.put(an_evaluation().on("pvc://models/base").gated(0).obj())
    world.succeed("Evaluation", "scored", a_score(1))


@pytest.mark.parametrize(
    ("prepare", "reason", "phase", "message"),
    [
        (absent, "WaitingForInput", "Waiting", "does not exist yet"),
        (running, "WaitingForInput", "Waiting", "not finished"),
        (failed_its_gate, "GateFailed", "Stalled", "humaneval/pass@1 0.41 < 0.6"),
        (without_gates, "GateFailed", "Stalled", "has no gates, so nothing says that it passed"),
        (failed, "GateFailed", "Stalled", "failed: NothingScored: no sample"),
        (
            of_another_artifact,
            "GateFailed",
            "Stalled",
            "scored another artifact (unknown), not this one (bbbbbbbbbbbb)",
        ),
    ],
)
def test_a_closed_gate_serves_nothing_and_says_why(
    world: World, prepare: Any, reason: str, phase: str, message: str
) -> None:
    prepare(world)

    start(world, "scored")

    found = world.condition("InferenceService", "chat", "GatePassed")
    assert (found["status"], found["reason"], found["message"]) == (
        "False",
        reason,
        f"evaluation scored: {message}",
    )
    assert world.status("InferenceService", "chat")["phase"] == phase
    assert world.of("Deployment") == world.of("Service") == []
    assert world.status("InferenceService", "chat")["gate"]["evaluations"][0]["passed"] is False


def test_an_open_gate_serves(world: World) -> None:
    score(world, 0.83)
    start(world, "scored")
    assert world.condition("InferenceService", "chat", "GatePassed")["reason"] == "GatesPassed"
    assert world.condition("InferenceService", "chat", "Ready")["status"] == "True"


def test_every_named_evaluation_must_have_passed(world: World) -> None:
    score(world, 0.83)
    start(world, "scored", "other")
    assert (
        "evaluation other: does not exist yet"
        in world.condition("InferenceService", "chat", "GatePassed")["message"]
    )
    assert world.of("Deployment") == []


def test_an_override_opens_the_gate_and_is_recorded(world: World) -> None:
    score(world, 0.1)
    world.put(a_service().behind("scored").annotated(gate_override="Friday's demo").obj())
    world.settle()
    world.serve(only(world, "Deployment"))
    world.settle()

    assert world.status("InferenceService", "chat")["gate"]["override"] == {
        "reason": "Friday's demo",
        "digest": B,
    }
    found = world.condition("InferenceService", "chat", "GatePassed")
    assert (found["status"], found["reason"]) == ("True", "Overridden")
    assert "humaneval/pass@1 0.1 < 0.6" in found["message"]
    assert [e for _, e in world.events if e.reason == "Overridden" and e.warning]


def test_an_empty_override_opens_nothing(world: World) -> None:
    score(world, 0.1)
    world.put(a_service().behind("scored").annotated(gate_override="  ").obj())
    world.settle()
    assert world.of("Deployment") == []


def test_the_old_revision_serves_until_the_new_one_is_allowed_and_ready(world: World) -> None:
    score(world, 0.83)
    start(world, "scored")
    old = only(world, "Deployment")

    requantize(world, C)
    found = world.status("InferenceService", "chat")
    assert found["artifact"]["digest"] == B
    assert found["revision"] != found["servingRevision"]
    assert world.condition("InferenceService", "chat", "Available")["status"] == "True"
    assert world.condition("InferenceService", "chat", "Ready")["status"] == "True", "something serves"
    assert world.condition("InferenceService", "chat", "GatePassed")["status"] == "False"
    assert world.of("Deployment") == [old]

    score(world, 0.7)
    assert len(world.of("Deployment")) == 2
    assert world.status("InferenceService", "chat")["artifact"]["digest"] == B

    new = next(d for d in world.of("Deployment") if d != old)
    world.serve(new)
    world.settle()
    assert world.of("Deployment") == [new]
    assert world.status("InferenceService", "chat")["artifact"]["digest"] == C
    assert only(world, "ConfigMap")["metadata"]["name"] == new["metadata"]["name"]
    assert world.condition("InferenceService", "chat", "Ready")["status"] == "True"


def test_the_service_moves_before_the_old_revision_goes(world: World) -> None:
    start(world)
    old = only(world, "Deployment")["metadata"]["name"]
    requantize(world, C)
    new = next(d for d in world.of("Deployment") if d["metadata"]["name"] != old)
    world.serve(new)

    moves = world.step("InferenceService", "chat")
    assert [(child["kind"], child["metadata"]["name"]) for child in moves.apply] == [("Service", "chat")]
    assert moves.delete == ()
    tidies = world.step("InferenceService", "chat")
    assert [gone.name for gone in tidies.delete] == [old, old, old]


@pytest.mark.parametrize(
    "change",
    [
        {"parallel": 3},
        {"contextLength": 99},
        {"engineArgs": ["--threads", "2"]},
        {"modelName": "n"},
        {"pod": {"nodeSelector": {"a": "b"}}},
    ],
)
def test_another_setting_is_another_revision(world: World, change: Any) -> None:
    start(world)
    world.put(a_service().with_(**change).obj())
    world.settle()
    assert len(world.of("Deployment")) == 2


def test_more_replicas_are_the_same_revision_also_while_another_waits(world: World) -> None:
    score(world, 0.83)
    start(world, "scored")
    requantize(world, C)

    world.put(a_service().behind("scored").with_(replicas=3).obj())
    world.settle()

    assert only(world, "Deployment")["spec"]["replicas"] == 3


def test_no_replicas_are_a_wish_not_a_fault(world: World) -> None:
    start(world)
    world.put(a_service().with_(replicas=0).obj())
    world.settle()
    world.serve(only(world, "Deployment"))
    world.settle()
    assert world.reason("InferenceService", "chat") == "ScaledToZero"
    assert world.condition("InferenceService", "chat", "Ready")["status"] == "True"
    assert world.condition("InferenceService", "chat", "Available")["status"] == "False"


def test_an_upstream_that_goes_takes_nothing_down(world: World) -> None:
    start(world)
    world.delete("Quantization", "small")
    world.settle()
    assert len(world.of("Deployment")) == 1
    assert world.condition("InferenceService", "chat", "Ready")["status"] == "True"
    assert world.condition("InferenceService", "chat", "ModelResolved")["reason"] == "Pinned"


def test_a_gate_that_closes_later_stops_the_next_revision_not_this_one(world: World) -> None:
    score(world, 0.83)
    start(world, "scored")
    score(world, 0.2)
    assert len(world.of("Deployment")) == 1
    assert world.condition("InferenceService", "chat", "Ready")["status"] == "True"
    assert world.condition("InferenceService", "chat", "GatePassed")["reason"] == "GateFailed"
    assert world.condition("InferenceService", "chat", "Stalled") == {}


def test_a_rollout_whose_gate_closes_is_taken_back(world: World) -> None:
    score(world, 0.83)
    world.put(a_service().behind("scored").obj())
    world.settle()
    assert len(world.of("Deployment")) == 1
    score(world, 0.2)
    world.settle()
    assert world.of("Deployment") == []


def test_a_rollout_that_is_given_up_is_tidied(world: World) -> None:
    start(world)
    for parallel in (2, 3):
        world.put(a_service().with_(parallel=parallel).obj())
        world.settle()
    assert len(world.of("Deployment")) == 2, "the served one and the newest"


def test_a_server_that_cannot_start_tells_why_with_its_log(world: World) -> None:
    world.put(a_service().obj())
    world.settle()
    pod = world.pod_of(only(world, "Deployment"))
    word = a_failure(FailureReason.DIGEST_MISMATCH, "m.gguf differs").termination_message()
    state = container(waiting={"reason": "CrashLoopBackOff"}) | {"restartCount": 2}
    pod["status"] = {
        "phase": "Running",
        "containerStatuses": [state | {"lastState": {"terminated": {"exitCode": 65, "message": word}}}],
    }
    world.logs[pod["metadata"]["name"]] = "the last words"
    world.settle()
    status = world.status("InferenceService", "chat")
    assert (status["failure"]["reason"], status["failure"]["logTail"]) == ("DigestMismatch", "the last words")
    assert world.condition("InferenceService", "chat", "Stalled")["status"] == "True"
    assert "chat" not in services(world)


def test_replicas_that_are_refused_are_told(world: World) -> None:
    world.put(a_service().obj())
    world.settle()
    failure = {"type": "ReplicaFailure", "status": "True", "message": "pods is forbidden: exceeded quota: q"}
    only(world, "Deployment")["status"] = {"conditions": [failure]}
    world.settle()
    assert world.reason("InferenceService", "chat") == "QuotaExceeded"


def test_a_spec_that_cannot_be_read_takes_nothing_down(world: World) -> None:
    start(world)
    world.put(a_service().with_(parallel="many").obj())
    world.settle()
    assert world.condition("InferenceService", "chat", "Stalled")["message"].startswith("spec.parallel: ")
    assert world.condition("InferenceService", "chat", "Available")["status"] == "True"


def test_a_configmap_that_an_older_operator_wrote_is_left_alone(world: World) -> None:
    start(world)
    only(world, "ConfigMap")["data"]["stage.json"] = "{}"
    assert world.step("InferenceService", "chat").apply == ()


def test_what_another_hand_changed_is_put_right(world: World) -> None:
    start(world)
    only(world, "Deployment")["spec"]["template"]["spec"]["containers"][0]["image"] = "evil"
    assert [child["kind"] for child in world.step("InferenceService", "chat").apply] == ["Deployment"]
