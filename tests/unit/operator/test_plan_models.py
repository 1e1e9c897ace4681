"""What an artifact says of its model: in the status, and before a pod is started for another resource."""

from __future__ import annotations

from typing import Any

import pytest

from speechless.contract import Format, ModelInfo, QuantizationInfo
from tests.unit.operator.make import (
    A,
    a_finetune,
    a_quantization,
    a_result,
    a_service,
    an_evaluation,
)
from tests.unit.operator.world import World

AWQ = ModelInfo(quantization=QuantizationInfo(method="awq", bits=4))
Q8_0 = ModelInfo(architecture="llama", quantization=QuantizationInfo(method="gguf", type="Q8_0"))


@pytest.fixture
def world() -> World:
    return World()


JUDGE = ModelInfo(architecture="LlamaForSequenceClassification", parameters=7)
WORK = [
    (a_quantization(), "quantizing takes"),
    (a_finetune("small").on("FineTune/tuned"), "training takes"),
    (an_evaluation("small").on("FineTune/tuned"), "evaluating takes"),
]


@pytest.mark.parametrize(("made", "work"), WORK)
def test_a_reward_model_starts_no_pod_for_what_needs_words(world: World, made: Any, work: str) -> None:
    world.put(a_finetune().obj())
    world.succeed("FineTune", "tuned", a_result(A, model=JUDGE))
    kind = world.put(made.obj())["kind"]
    world.settle()
    assert world.reason(kind, "small") == "InvalidSpec"
    message = world.condition(kind, "small", "Stalled")["message"]
    assert (
        f"FineTune tuned: it is no model that writes (reward model, {JUDGE.architecture}), {work}" in message
    )
    assert "take the language model that it was made from" in message


def test_a_reward_model_may_be_trained_on(world: World) -> None:
    world.put(a_finetune().obj())
    world.succeed("FineTune", "tuned", a_result(A, model=JUDGE))
    world.put(a_finetune("small").on("FineTune/tuned").with_(objective="Reward").obj())
    world.settle()
    assert world.reason("FineTune", "small") == "Starting"
    assert world.status("FineTune", "small")["run"]["inputs"][0]["architecture"] == JUDGE.architecture


@pytest.mark.parametrize(("made", "work"), WORK)
def test_an_artifact_of_quantized_weights_starts_no_pod(world: World, made: Any, work: str) -> None:
    world.put(a_finetune().obj())
    world.succeed("FineTune", "tuned", a_result(A, model=AWQ))
    kind = world.put(made.obj())["kind"]
    world.settle()
    assert world.reason(kind, "small") == "InvalidSpec"
    message = world.condition(kind, "small", "Stalled")["message"]
    assert f"FineTune tuned: its weights are quantized already (awq), {work}" in message
    assert "take the model that it was made from" in message


def test_what_model_an_artifact_holds_is_in_the_status_and_decides_no_run(world: World) -> None:
    for name, model in (("tuned", ModelInfo(architecture="llama", parameters=7)), ("other", None)):
        world.put(a_finetune(name).with_(hyperparameters={"seed": len(name)}).obj())
        world.succeed("FineTune", name, a_result(A, model=model))
    assert world.status("FineTune", "tuned")["artifact"]["model"] == {
        "architecture": "llama",
        "parameters": 7,
    }
    assert "model" not in world.status("FineTune", "other")["artifact"]
    world.put(a_quantization().obj())
    world.settle()
    assert world.reason("Quantization", "small") == "Starting"


def test_what_is_quantized_by_a_method_that_an_engine_serves_is_served(world: World) -> None:
    world.put(a_finetune().obj())
    world.succeed("FineTune", "tuned", a_result())
    world.put(a_quantization().obj())
    world.succeed("Quantization", "small", a_result(A, Format.GGUF, Q8_0))
    assert world.status("Quantization", "small")["artifact"]["model"]["quantization"] == "gguf"
    world.put(a_service().obj())
    world.settle()
    assert world.of("Deployment")


def test_a_method_that_the_operator_cannot_read_is_left_to_the_pod(world: World) -> None:
    world.put(a_finetune().obj())
    world.succeed("FineTune", "tuned", a_result(A, model=AWQ))
    world.status("FineTune", "tuned")["artifact"]["model"]["quantization"] = "two words"
    world.put(a_quantization().obj())
    world.settle()
    assert world.reason("Quantization", "small") == "Starting"
