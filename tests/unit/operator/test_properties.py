"""Whatever is there in whatever order: a plan carried out leaves nothing to do, and the end is the same."""

from __future__ import annotations

import copy
from contextlib import suppress
from dataclasses import replace
from itertools import permutations
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from speechless.contract import FailureReason, Format
from tests.unit.operator.make import (
    A,
    B,
    a_failure,
    a_finetune,
    a_quantization,
    a_result,
    a_score,
    a_service,
    an_evaluation,
)
from tests.unit.operator.world import OURS, SETTINGS, Crash, World, container

CHAIN = [
    a_service().behind("scored").obj(),
    an_evaluation().gated(0.5).obj(),
    a_quantization().obj(),
    a_finetune().obj(),
]


def ended(code: int, message: str = "", reason: str = "Error") -> Any:
    """The state of a container that ended."""
    return {"terminated": {"exitCode": code, "message": message, "reason": reason}}


AWAY = a_failure(FailureReason.STORE_UNAVAILABLE).termination_message()
CRASHING = container(waiting={"reason": "CrashLoopBackOff"}) | {"lastState": ended(1)}
POD_STATES = [
    {"phase": "Pending"},
    {"phase": "Running", "containerStatuses": [container(running={})]},
    {
        "phase": "Pending",
        "containerStatuses": [container(waiting={"reason": "ImagePullBackOff", "message": "no"})],
    },
    {"phase": "Running", "containerStatuses": [CRASHING]},
    {"phase": "Failed", "containerStatuses": [container(**ended(69, AWAY))]},
    {"phase": "Failed", "containerStatuses": [container(**ended(137, reason="OOMKilled"))]},
    {"phase": "Failed", "reason": "Evicted", "message": "disk pressure"},
    {"phase": "Succeeded", "containerStatuses": [container(**ended(0, a_result(A).termination_message()))]},
    {},
]
JOB_ENDS = [None, None, ("Complete", ""), ("Failed", "BackoffLimitExceeded"), ("Failed", "DeadlineExceeded")]


def progress(world: World, draw: Any) -> None:
    """Let Kubernetes do something, anything."""
    world.pass_time(draw(st.sampled_from([0, 1, 100])))
    for job in world.of("Job"):
        for number in range(draw(st.integers(0, 2))):
            world.pod_of(job, number)["status"] = copy.deepcopy(draw(st.sampled_from(POD_STATES)))
        ended = draw(st.sampled_from(JOB_ENDS))
        if ended and not job.get("status"):
            world.job_ends(job, *ended)
    for deployment in world.of("Deployment"):
        if draw(st.booleans()):
            world.pod_of(deployment)["status"] = copy.deepcopy(draw(st.sampled_from(POD_STATES)))
        if draw(st.booleans()):
            world.serve(deployment)


@st.composite
def worlds(draw: Any) -> World:
    """Some resources, in some order, with some history."""
    world = World(
        replace(SETTINGS, allow_code_execution=draw(st.booleans()), allow_file_uris=draw(st.booleans()))
    )
    for made in draw(st.permutations(CHAIN))[: draw(st.integers(1, 4))]:
        obj = copy.deepcopy(made)
        if obj["kind"] != "InferenceService":
            obj["spec"] |= draw(st.sampled_from([{}, {"suspend": True}, {"ttlSecondsAfterFinished": 50}]))
        world.put(obj)
        if draw(st.booleans()):
            world.step(obj["kind"], obj["metadata"]["name"])
        progress(world, draw)
    if draw(st.booleans()):
        world.refuse = {"Job": (draw(st.sampled_from([403, 409, 422, 500])), "exceeded quota")}
    return world


@given(worlds())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_plan_carried_out_leaves_nothing_to_do(world: World) -> None:
    for kind, name in [key for key in world.objects if key[0] in OURS]:
        for _ in range(3):  # a Service that moved lets the old revision go: the longest way is three steps
            if (kind, name) in world.objects:
                world.step(kind, name)
        if (kind, name) not in world.objects:
            continue
        before = copy.deepcopy(world.objects)
        again = world.step(kind, name)
        assert world.objects == before
        assert again.events == ()
        assert again.delete == ()
        assert again.patch == ()
        assert again.apply == () or world.refuse


@given(worlds())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_end_is_never_overwritten_and_a_condition_is_said_once(world: World) -> None:
    for kind, name in [key for key in world.objects if key[0] in OURS]:
        alone = copy.deepcopy(world)
        alone.step(kind, name)
        if (kind, name) not in alone.objects:
            continue
        status = alone.status(kind, name)
        types = [condition["type"] for condition in status.get("conditions", [])]
        assert len(types) == len(set(types))
        assert not {"Succeeded", "Failed"} <= set(types)
        assert not {"Reconciling", "Stalled"} <= set(types)
        if types:
            ready = next(c["status"] for c in status["conditions"] if c["type"] == "Ready")
            assert (ready == "True") is (status["phase"] in ("Succeeded", "Ready"))
        if {"Succeeded", "Failed"} & set(types):
            alone.objects = {key: obj for key, obj in alone.objects.items() if key == (kind, name)}
            alone.pass_time(1)
            alone.step(kind, name)
            if (kind, name) in alone.objects:
                assert alone.status(kind, name)["conditions"] == status["conditions"]


def play(world: World) -> None:
    """Let everything go well that can."""
    results = {
        "FineTune": a_result(A),
        "Quantization": a_result(B, Format.GGUF),
        "Evaluation": a_score(0.9),
    }
    for _ in range(4):
        world.settle()
        for job in world.of("Job"):
            if not job.get("status"):
                world.end(world.pod_of(job), results[job["metadata"]["labels"]["speechless.dev/kind"]])
                world.job_ends(job)
        for deployment in world.of("Deployment"):
            world.serve(deployment)
    world.settle()


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_the_order_of_apply_does_not_matter(order: tuple[int, ...]) -> None:
    world = World()
    for index in order:
        world.put(CHAIN[index])
        world.settle()

    play(world)

    assert {key[0]: world.status(*key)["phase"] for key in world.objects if key[0] in OURS} == {
        "FineTune": "Succeeded",
        "Quantization": "Succeeded",
        "Evaluation": "Succeeded",
        "InferenceService": "Ready",
    }
    assert world.status("InferenceService", "chat")["artifact"]["digest"] == B


@pytest.mark.parametrize("stop_after", range(24))
def test_a_crash_between_any_two_writes_loses_nothing(stop_after: int) -> None:
    world = World()
    for made in CHAIN:
        world.put(made)
    world.budget = stop_after

    with suppress(Crash):
        play(world)
    world.restart()
    play(world)

    assert world.status("InferenceService", "chat")["phase"] == "Ready"
    assert world.writes.count("apply Job") == 3, "nothing ran twice"
    assert len(world.of("Deployment")) == 1
