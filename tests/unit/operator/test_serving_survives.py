"""What serves, serves: whatever another hand deletes or edits, in whatever phase, and whatever becomes of upstream."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, example, given, settings

from speechless.contract import FailureReason, Format
from speechless_operator.desired.service import selected_revision
from speechless_operator.desired.settings import image_names
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
from tests.unit.operator.world import SETTINGS, World

Phase = Callable[[World], None]


def model(world: World, digest: str = B) -> None:
    """A quantized model."""
    for kind, name in (("Quantization", "small"), ("FineTune", "tuned")):
        if (kind, name) in world.objects:
            world.delete(kind, name)
    world.put(a_finetune().obj())
    world.put(a_quantization().obj())
    world.succeed("FineTune", "tuned", a_result(A))
    world.succeed("Quantization", "small", a_result(digest, Format.GGUF))


def scored(world: World, value: float) -> None:
    """An evaluation of what is there."""
    if ("Evaluation", "scored") in world.objects:
        world.delete("Evaluation", "scored")
    world.put(an_evaluation().gated(0.6).obj())
    world.succeed("Evaluation", "scored", a_score(value))


def serving(phase: Phase | None = None) -> World:
    """A service behind an open gate, that serves, in a phase."""
    return copy.deepcopy(_prepared(phase))


@cache
def _prepared(phase: Phase | None) -> World:
    if phase is not None:
        world = serving()
        phase(world)
        return world
    world = World()
    model(world)
    scored(world, 0.9)
    world.put(a_service().behind("scored").obj())
    world.settle()
    ready(world)
    assert world.condition("InferenceService", "chat", "Ready")["status"] == "True"
    return world


def ready(world: World) -> None:
    """The pods of every Deployment are ready."""
    for deployment in world.of("Deployment"):
        world.serve(deployment)
    world.settle()


def steady(_: World) -> None:
    """Nothing else goes on."""


def gate_closed(world: World) -> None:
    """A newer model did not pass."""
    model(world, C)
    scored(world, 0.1)


def rolling_out(world: World) -> None:
    """A newer model passed, and is not ready yet."""
    model(world, C)
    scored(world, 0.9)


def another_setting(world: World) -> None:
    """Another revision of the same model starts."""
    world.put(a_service().behind("scored").with_(parallel=4).obj())
    world.settle()


def upstream_gone(world: World) -> None:
    """The model's resources, and the evaluation, had a time to live."""
    for kind, name in (("Quantization", "small"), ("FineTune", "tuned"), ("Evaluation", "scored")):
        world.delete(kind, name)
    world.settle()


def upstream_failed(world: World) -> None:
    """The model was made again, and failed."""
    world.delete("Quantization", "small")
    world.put(a_quantization().obj())
    world.fail("Quantization", "small", a_failure(FailureReason.PERPLEXITY_INCREASED))


def spec_unreadable(world: World) -> None:
    """A newer version's field has another type."""
    world.put(a_service().behind("scored").with_(parallel="many").obj())
    world.settle()


def operator_upgraded(world: World) -> None:
    """Another default image."""
    world.settings = replace(
        SETTINGS,
        images={image: f"registry.example/{image}:2" for image in image_names()},
        operator_version="2",
    )
    world.restart()
    world.settle()


PHASES: list[Phase] = [
    steady,
    gate_closed,
    rolling_out,
    another_setting,
    upstream_gone,
    upstream_failed,
    spec_unreadable,
    operator_upgraded,
]


def served(world: World) -> tuple[str, Any]:
    """The revision that clients are answered by, and its pods' template."""
    revision = selected_revision(world.get("Service", "chat"))
    found = world.get("Deployment", f"chat-slis-{revision}")
    return revision, copy.deepcopy(found["spec"]["template"])


def children(world: World) -> list[tuple[str, str]]:
    """The service's children."""
    labels = ("speechless.dev/kind", "InferenceService")
    kinds = ("ConfigMap", "Deployment", "Service")
    return [
        key for key, obj in world.objects.items()
        if key[0] in kinds and labels in (obj["metadata"].get("labels") or {}).items()
    ]  # fmt: skip


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.__name__)
def test_every_child_that_is_deleted_comes_back_and_what_serves_serves(phase: Phase) -> None:
    for key in children(serving(phase)):
        world = serving(phase)
        before = served(world)

        world.delete(*key)
        world.settle()

        assert served(world) == before
        assert world.status("InferenceService", "chat")["servingRevision"] == before[0]
        assert key in children(world)


EDITS: dict[str, Callable[[Any], None]] = {
    "the selector of a Service": lambda o: o["spec"].__setitem__("selector", {"app": "mine"}),
    "the labels": lambda o: o["metadata"].__setitem__("labels", {"speechless.dev/kind": "InferenceService"}),
    "the revision's label": lambda o: o["metadata"]["labels"].__setitem__("speechless.dev/revision", "x"),
    "the annotations": lambda o: o["metadata"].pop("annotations", None),
    "what was built": lambda o: (
        o["metadata"].setdefault("annotations", {}).update({"speechless.dev/built": "{"})
    ),
}


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.__name__)
@pytest.mark.parametrize("edit", EDITS)
def test_every_child_that_is_edited_takes_nothing_down(phase: Phase, edit: str) -> None:
    world = serving(phase)
    revision, template = served(world)
    for key in children(world):
        if "Service" in edit and key[0] != "Service":
            continue
        edited = copy.deepcopy(world.get(*key))
        EDITS[edit](edited)
        world.put(edited)

    world.settle()

    assert served(world) == (revision, template)
    assert world.status("InferenceService", "chat")["servingRevision"] == revision


def test_another_hands_image_is_put_right_as_it_was_made(subtests: Any) -> None:
    for phase in (steady, upstream_gone, operator_upgraded, gate_closed):
        with subtests.test(phase=phase.__name__):
            world = serving(phase)
            revision, template = served(world)
            edited = copy.deepcopy(world.get("Deployment", f"chat-slis-{revision}"))
            edited["spec"]["template"]["spec"]["containers"][0]["image"] = "evil"
            world.put(edited)
            world.settle()
            assert served(world) == (revision, template)


def test_all_children_deleted_at_once_come_back_while_the_spec_is_the_same() -> None:
    world = serving()
    upstream_gone(world)
    before = served(world)
    for key in children(world):
        world.objects.pop(key)
    world.settle()
    assert served(world) == before


def test_an_upgrade_of_the_operator_rolls_nothing_until_the_policy_says_so() -> None:
    world = serving()
    operator_upgraded(world)
    assert [d["spec"]["template"]["spec"]["containers"][0]["image"] for d in world.of("Deployment")] == [
        "registry.example/serve-llamacpp:1"
    ]
    world.put(a_service().behind("scored").with_(upgradePolicy="Automatic").obj())
    world.settle()
    assert sorted(d["spec"]["template"]["spec"]["containers"][0]["image"] for d in world.of("Deployment")) == [
        "registry.example/serve-llamacpp:1", "registry.example/serve-llamacpp:2",
    ]  # fmt: skip


def test_a_service_whose_upstream_is_gone_is_ready_and_says_that_it_is() -> None:
    world = serving()
    upstream_gone(world)
    assert world.condition("InferenceService", "chat", "Ready")["status"] == "True"
    assert world.condition("InferenceService", "chat", "ModelResolved")["reason"] == "Pinned"
    gate = world.condition("InferenceService", "chat", "GatePassed")
    assert gate["status"] == "True"
    assert "what it said is kept" in gate["message"]
    (verdict,) = world.status("InferenceService", "chat")["gate"]["evaluations"]
    assert verdict["gone"] is True


def test_a_gone_evaluations_word_counts_for_its_artifact_alone() -> None:
    world = serving()
    world.delete("Evaluation", "scored")
    model(world, C)
    world.settle()
    assert world.condition("InferenceService", "chat", "GatePassed")["reason"] == "WaitingForInput"
    assert len(world.of("Deployment")) == 1


def test_the_scale_speaks_of_the_serving_revision_alone() -> None:
    world = serving()
    another_setting(world)
    revision, _ = served(world)
    assert len(world.of("Deployment")) == 2
    assert f"speechless.dev/revision={revision}" in world.status("InferenceService", "chat")["selector"]


def test_a_crash_of_a_pod_long_ago_makes_no_stall_of_a_scale_up() -> None:
    world = serving()
    (deployment,) = world.of("Deployment")
    pod = world.pod_of(deployment)
    pod["status"] = {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [
            {"name": "stage", "ready": True, "restartCount": 1, "state": {"running": {}},
             "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
        ],
    }  # fmt: skip
    world.put(a_service().behind("scored").with_(replicas=3).obj())
    world.settle()
    assert world.condition("InferenceService", "chat", "Stalled") == {}
    assert world.condition("InferenceService", "chat", "Reconciling")["reason"] == "RollingOut"


def test_the_service_moves_only_to_as_many_pods_as_are_wanted_now() -> None:
    world = serving()
    another_setting(world)
    old, _ = served(world)
    new = next(d for d in world.of("Deployment") if not d["metadata"]["name"].endswith(old))
    world.serve(new)
    world.put(a_service().behind("scored").with_(parallel=4, replicas=10).obj())
    world.settle()
    assert served(world)[0] == old


def test_a_revision_that_was_never_tried_is_not_moved_to() -> None:
    world = serving()
    world.put(a_service().behind("scored").with_(replicas=0).obj())
    world.settle()
    ready(world)
    old, _ = served(world)
    world.put(a_service().behind("scored").with_(replicas=0, parallel=4).obj())
    world.settle()
    ready(world)
    assert served(world)[0] == old
    world.put(a_service().behind("scored").with_(replicas=1, parallel=4).obj())
    world.settle()
    ready(world)
    assert served(world)[0] != old


KINDS = ["Deployment", "Service", "ConfigMap", "Quantization", "Evaluation", "InferenceService"]


@given(st.dictionaries(st.sampled_from(KINDS), st.integers(0, 6)), st.sampled_from(PHASES))
@example({"Deployment": 2, "InferenceService": 3, "Service": 1}, operator_upgraded)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_caches_that_are_behind_take_nothing_down(lag: dict[str, int], phase: Phase) -> None:
    revision, template = served(serving())
    world = serving(phase)
    world.lag = dict(lag)
    for _ in range(4):
        if ("InferenceService", "chat") in world._view("InferenceService"):
            world.step("InferenceService", "chat")
        found = world.objects.get(("Deployment", f"chat-slis-{revision}"))
        assert found is not None
        assert found["spec"]["template"] == template
    world.catch_up()
    world.settle()
    assert served(world)[0] == revision
