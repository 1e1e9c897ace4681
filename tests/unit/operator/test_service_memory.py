"""InferenceService: what it remembers, what is refused, and what a gate rests on, without a cluster."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from speechless.contract import Format, parse_spec
from speechless.contract.engines import ENGINES
from speechless.contract.evaluate import EvaluateSpec
from speechless_operator.desired.deployment import DRAIN_SECONDS
from tests.unit.operator.make import (
    B,
    C,
    a_result,
    a_score,
    a_service,
    an_evaluation,
)
from tests.unit.operator.test_plan_service import only, score, stable, start, with_a_model
from tests.unit.operator.world import World, container


@pytest.fixture
def world() -> World:
    """With a quantized model."""
    return with_a_model()


def test_a_model_that_waits_for_its_gate_outlives_its_resource(world: World) -> None:
    """What a TTL or a hand takes away before anything serves: the artifact was resolved, and is known."""
    start(world, "scored")
    assert world.condition("InferenceService", "chat", "GatePassed")["reason"] == "WaitingForInput"
    world.delete("Quantization", "small")
    world.settle()
    resolved = world.condition("InferenceService", "chat", "ModelResolved")
    assert (resolved["status"], resolved["reason"]) == ("True", "Pinned")
    assert B in resolved["message"]
    # Another operator, from what is stored.
    world.restart()
    world.settle()
    assert world.condition("InferenceService", "chat", "ModelResolved")["reason"] == "Pinned"
    world.put(a_service().behind("scored").annotated(gate_override="seen by hand").obj())
    world.settle()
    world.serve(only(world, "Deployment"))
    world.settle()
    assert world.status("InferenceService", "chat")["artifact"]["digest"] == B
    assert world.condition("InferenceService", "chat", "Ready")["status"] == "True"


def test_a_spec_that_is_refused_while_it_waits_forgets_nothing(world: World) -> None:
    start(world, "scored")
    world.put(a_service().behind("scored").with_(parallel="many").obj())
    world.settle()
    world.delete("Quantization", "small")
    world.put(a_service().behind("scored").obj())
    world.settle()
    assert world.condition("InferenceService", "chat", "ModelResolved")["reason"] == "Pinned"


def crashed_before(world: World, runs_for: float) -> None:
    """The pod of what serves is not ready, and its container ended for lack of memory before it was started last."""
    start(world)
    (deployment,) = world.of("Deployment")
    pod = world.pod_of(deployment)
    started = world.time()
    world.pass_time(runs_for)
    deployment["status"] |= {"readyReplicas": 0, "availableReplicas": 0}
    ended = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    pod["status"] = {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "False"}],
        "containerStatuses": [
            container(running={"startedAt": started}) | {"ready": False, "lastState": ended}
        ],
    }
    world.logs[pod["metadata"]["name"]] = "killed"
    world.settle()


def test_a_pod_that_is_not_ready_is_told_by_a_crash_of_just_now(world: World) -> None:
    crashed_before(world, 60)
    assert world.condition("InferenceService", "chat", "Stalled")["reason"] == "OOMKilled"


def test_a_crash_that_a_container_has_outlived_is_history(world: World) -> None:
    crashed_before(world, 7 * 24 * 3600)
    assert world.condition("InferenceService", "chat", "Stalled") == {}
    assert world.condition("InferenceService", "chat", "Reconciling")["message"].startswith(
        "0 of 1 pods are ready"
    )
    assert "failure" not in world.status("InferenceService", "chat")


@pytest.mark.parametrize("kind", ["Deployment", "ConfigMap", "Service"])
def test_a_child_of_what_serves_that_is_refused_is_told(world: World, kind: str) -> None:
    start(world)
    child = only(world, kind) if kind != "Service" else stable(world)
    world.delete(kind, child["metadata"]["name"])
    world.refuse = {kind: (403, "admission webhook denied the request: not today")}
    world.settle()
    refused = world.condition("InferenceService", "chat", "Progressing")
    assert refused["status"] == "False"
    assert "not today" in refused["message"]
    world.refuse = {}
    world.settle()
    world.serve(only(world, "Deployment"))
    world.settle()
    assert world.condition("InferenceService", "chat", "Ready")["status"] == "True"


@pytest.mark.parametrize(
    ("by", "until", "counts", "told"),
    [
        ("kim", "", True, "opened by hand (speechless.dev/gate-override): seen (by kim)"),
        ("kim", "{in an hour}", True, "seen (by kim), until "),
        ("", "{an hour ago}", False, "the override by hand ended at "),
        ("", "tomorrow", False, "tomorrow is no time such as 2026-01-31T18:00:00Z: it does not count"),
        ("", "2026-01-31T18:00:00", False, "is no time such as"),
    ],
)
def test_an_override_has_an_actor_and_an_end(
    world: World, by: str, until: str, counts: bool, told: str
) -> None:
    score(world, 0.2)
    times = {"{in an hour}": world.now + timedelta(hours=1), "{an hour ago}": world.now - timedelta(hours=1)}
    end = times[until].strftime("%Y-%m-%dT%H:%M:%SZ") if until in times else until
    given = {"gate_override": "seen", "gate_override_by": by, "gate_override_until": end}
    given = {key: value for key, value in given.items() if value}
    world.put(a_service().behind("scored").annotated(**given).obj())
    world.settle()
    passed = world.condition("InferenceService", "chat", "GatePassed")
    assert told in passed["message"]
    assert (passed["status"] == "True") is counts
    override = world.status("InferenceService", "chat")["gate"].get("override")
    assert (override is not None) is counts
    if counts:
        expected = (
            {"reason": "seen", "digest": B} | ({"by": by} if by else {}) | ({"until": end} if end else {})
        )
        assert override == expected
    if until == "{in an hour}":
        assert len(world.of("Deployment")) == 1
        world.pass_time(3700)
        world.settle()
        assert world.condition("InferenceService", "chat", "GatePassed")["status"] == "False"


def test_a_verdict_says_what_it_rests_on(world: World) -> None:
    """Samples, and whether somebody else's image or environment said it."""
    world.put(
        an_evaluation()
        .gated(0.6)
        .with_(pod={"image": "me/mine:1", "env": [{"name": "X", "value": "1"}]})
        .obj()
    )
    world.succeed("Evaluation", "scored", a_score(0.9))
    start(world, "scored")
    (verdict,) = world.status("InferenceService", "chat")["gate"]["evaluations"]
    assert verdict["passed"] is True
    assert verdict["overridden"] == "image, environment"
    provenance = world.status("Evaluation", "scored")["provenance"]
    assert (provenance["imageOverridden"], provenance["environmentOverridden"]) == (True, True)


def test_a_pod_that_goes_has_time_for_the_answers_under_way(world: World) -> None:
    """It leaves the Service first, then the engine finishes, then a margin."""
    start(world)
    pod = only(world, "Deployment")["spec"]["template"]["spec"]
    drain = ENGINES["LlamaCpp"].drain_seconds
    assert pod["containers"][0]["lifecycle"]["preStop"] == {"sleep": {"seconds": DRAIN_SECONDS}}
    assert pod["terminationGracePeriodSeconds"] >= DRAIN_SECONDS + drain + 5
    assert drain >= 30


@pytest.mark.parametrize("seconds", [0, 600])
def test_how_long_answers_may_take_is_the_services_to_say(world: World, seconds: int) -> None:
    start(world)
    old = only(world, "Deployment")["metadata"]["name"]
    world.put(a_service().with_(drainSeconds=seconds).obj())
    world.settle()
    (new,) = [each for each in world.of("Deployment") if each["metadata"]["name"] != old]
    grace = new["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace == DRAIN_SECONDS + seconds + 10
    (told,) = [each for each in world.of("ConfigMap") if each["metadata"]["name"] == new["metadata"]["name"]]
    assert json.loads(told["data"]["stage.json"])["drainSeconds"] == seconds


def test_a_gate_on_the_last_of_many_suites_is_judged(world: World) -> None:
    """The stage is told which metrics gates need, and what it cuts are others."""
    names = [f"suite-{number:02}-{'x' * 40}" for number in range(16)]
    data = {"uri": "pvc://models/tests.jsonl"}
    suites = [{"name": name, "type": "HumanEval", "data": data} for name in names]
    metric = f"{names[-1]}/pass@1"
    world.put(an_evaluation().with_(suites=suites).gated(0.6, metric).obj())
    world.settle()
    (told,) = [
        o for o in world.of("ConfigMap") if o["metadata"]["labels"]["speechless.dev/kind"] == "Evaluation"
    ]
    spec = parse_spec(told["data"]["stage.json"])
    assert isinstance(spec, EvaluateSpec)
    assert spec.gate_metrics == (metric,)
    values = {
        f"{name}/{what}": 0.7 for name in names for what in ("pass@1", "samples", "tasks", "timeouts", "low")
    }
    job = world.get("Job", world.status("Evaluation", "scored")["job"])
    pod = world.pod_of(job)
    whole = world.of_the_run(pod, a_result(C, Format.REPORT, **values))
    message = whole.termination_message(spec.gate_metrics)
    assert len(message.encode()) <= 4096
    assert len(whole.to_json().encode()) > 4096
    world.end(pod, message)
    world.job_ends(job)
    world.settle()
    assert world.condition("Evaluation", "scored", "Passed")["status"] == "True"
