"""The states that a namespace is recorded in. Runs with whichever version is on the path.

    python tests/skew/scenarios.py record          JSON: scenario -> objects, as that version's operator leaves them
    python tests/skew/scenarios.py settle < OBJ    JSON: the objects after that version's operator took them over

It uses of a version only what every version has: the World of its unit tests, and the makers beside it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from speechless.contract import FailureReason, Format, StageResult
from tests.unit.operator.make import (
    a_failure,
    a_finetune,
    a_quantization,
    a_result,
    a_score,
    a_service,
    an_evaluation,
)
from tests.unit.operator.world import World

Object = dict[str, Any]
B, C = "sha256:" + "b" * 64, "sha256:" + "c" * 64
D = "sha256:" + "d" * 64
POD = {
    "image": "registry.example/mine@sha256:" + "1" * 64,
    "resources": {"requests": {"cpu": 2, "memory": "4Gi"}, "limits": {"memory": "8Gi"}},
    "env": [
        {"name": "HF_HOME", "value": "/scratch/hf"},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "login", "key": "token"}}},
    ],
    "nodeSelector": {"pool": "gpu"},
    "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "serviceAccountName": "trainer",
    "imagePullSecrets": [{"name": "registry"}],
    "priorityClassName": "batch",
    "runtimeClassName": "sandbox",
}
GGUF = {"uri": "pvc://models/chat.gguf", "digest": "sha256:" + "e" * 64}


def job_of(world: World, kind: str, name: str) -> Object:
    """The Job of a resource."""
    return world.get("Job", world.status(kind, name)["job"])


def published(world: World, job: Object, result: StageResult) -> StageResult:
    """The result as a stage says it: its artifact is where it was told to put it."""
    (config,) = (
        v["configMap"]["name"] for v in job["spec"]["template"]["spec"]["volumes"] if "configMap" in v
    )
    output = json.loads(world.get("ConfigMap", config)["data"]["stage.json"])["output"]
    assert result.artifact is not None
    return result.model_copy(update={"artifact": result.artifact.model_copy(update={"uri": output})})


def succeed(world: World, kind: str, name: str, result: StageResult) -> None:
    """A run goes well."""
    world.settle()
    world.succeed(kind, name, published(world, job_of(world, kind, name), result))


def change(world: World, kind: str, name: str, **spec: Any) -> None:
    """Somebody edits a resource."""
    found = world.get(kind, name)
    world.put(found | {"spec": found["spec"] | spec})


def deployment(world: World) -> Object:
    """The newest Deployment."""
    return world.of("Deployment")[-1]


def serve(world: World) -> None:
    """What is rolled out gets ready."""
    world.settle()
    world.serve(deployment(world))
    for number in range(1, deployment(world)["spec"]["replicas"] + 1):
        world.run(world.pod_of(deployment(world), number))
    world.settle()


# ------------------------------------------------------------------------------------------------------ runs that run


def waiting(world: World) -> None:
    world.put(a_quantization().obj())


def suspended(world: World) -> None:
    world.put(a_finetune().with_(suspend=True).obj())


def starting(world: World) -> None:
    world.put(a_finetune().obj())


def running(world: World) -> None:
    pod = {"env": [{"name": "HF_HOME", "value": "/scratch/hf"}], "resources": {"limits": {"memory": "8Gi"}}}
    extra = {"hyperparameters": {"maxSteps": 100, "seed": 7}, "activeDeadlineSeconds": 86400, "pod": pod}
    world.put(a_finetune().with_(**extra).obj())
    world.settle()
    world.run(world.pod_of(job_of(world, "FineTune", "tuned")))


def suspended_while_running(world: World) -> None:
    running(world)
    world.settle()
    change(world, "FineTune", "tuned", suspend=True)


def retrying(world: World) -> None:
    world.put(a_finetune().obj())
    world.settle()
    job = job_of(world, "FineTune", "tuned")
    world.end(world.pod_of(job, 1), a_failure(FailureReason.STORE_UNAVAILABLE, "the store is away"), 69)
    world.pass_time(5)
    world.run(world.pod_of(job, 2))


def quantizing(world: World) -> None:
    succeeded(world)
    world.put(a_quantization().with_(verify={"text": {"uri": "pvc://models/text.txt"}}).obj())
    world.settle()
    world.run(world.pod_of(job_of(world, "Quantization", "small")))


def evaluating(world: World) -> None:
    quantized(world)
    world.put(an_evaluation().gated(0.6).obj())
    world.settle()
    world.run(world.pod_of(job_of(world, "Evaluation", "scored")))


def every_field(world: World) -> None:
    """Whatever could be said then, said otherwise than by default."""
    quantized(world)
    run = {
        "output": {"uri": "pvc://results/mine"},
        "activeDeadlineSeconds": 3600,
        "backoffLimit": 5,
        "ttlSecondsAfterFinished": 86400,
        "pod": POD,
    }
    text = {"uri": "pvc://models/text.txt", "digest": "sha256:" + "f" * 64, "waitSeconds": 30}
    world.put(
        a_finetune("all")
        .with_(
            **run,
            model={"uri": "pvc://models/base", "digest": D, "waitSeconds": 60},
            dataset=text | {"format": "Messages", "evalFraction": 0.1, "maxSamples": 100},
            method="LoRA",
            objective="SFT",
            hyperparameters={
                "learningRate": 0.001, "numTrainEpochs": 2.5, "maxSteps": 10, "perDeviceTrainBatchSize": 2,
                "gradientAccumulationSteps": 3, "warmupSteps": 1, "lrSchedulerType": "linear", "weightDecay": 0.1,
                "maxGradNorm": 0.5, "maxLength": 256, "seed": 1,
            },
            lora={"r": 8, "alpha": 16, "dropout": 0.05, "targetModules": ["q_proj"]},
            checkpoints={"everySteps": 5, "keep": 3},
            merge=False,
        )
        .obj()
    )  # fmt: skip
    world.put(
        a_quantization("all")
        .with_(
            **run, format="GGUF", type="Q4_K_M", verify={"text": text, "maxPerplexityIncreasePercent": 2.5}
        )
        .obj()
    )
    suite = {
        "name": "code", "type": "HumanEval", "data": text, "samplesPerTask": 4, "k": [1, 4], "temperature": 0.8,
        "maxTokens": 64, "timeoutSeconds": 3, "limit": 5, "seed": 2,
    }  # fmt: skip
    suites = [suite, {"name": "text", "type": "Perplexity", "data": text, "limit": 3}]
    gates = [{"metric": "code/pass@1", "min": 0.5, "max": 1}, {"metric": "text/perplexity", "max": 20}]
    world.put(an_evaluation("all").with_(**run, suites=suites, gates=gates).obj())
    world.put(
        a_service("all")
        .with_(
            modelName="mine", engine="LlamaCpp", contextLength=2048, parallel=3, engineArgs=["--threads", "4"],
            replicas=2, pod=POD,
        )
        .obj()
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------ runs that ended


def closed_and_not_told(world: World) -> None:
    """The Job ended while no operator was there."""
    running(world)
    world.settle()
    job = job_of(world, "FineTune", "tuned")
    world.end(world.of("Pod")[0], published(world, job, a_result()))
    world.job_ends(job)


def failed_and_not_told(world: World) -> None:
    running(world)
    world.settle()
    world.end(world.of("Pod")[0], a_failure(FailureReason.DATASET_INVALID, "rows.jsonl:17: not JSON"), 65)
    world.job_ends(job_of(world, "FineTune", "tuned"), "Failed", "PodFailurePolicy")


def succeeded(world: World) -> None:
    world.put(a_finetune().obj())
    succeed(world, "FineTune", "tuned", a_result())


def failed(world: World) -> None:
    world.put(a_finetune().obj())
    world.fail(
        "FineTune",
        "tuned",
        a_failure(FailureReason.DATASET_INVALID, "rows.jsonl:17: not JSON", "mend the line"),
    )


def quantized(world: World) -> None:
    succeeded(world)
    world.put(a_quantization().obj())
    succeed(world, "Quantization", "small", a_result(B, Format.GGUF))


def passed(world: World) -> None:
    quantized(world)
    world.put(an_evaluation().gated(0.6).obj())
    succeed(world, "Evaluation", "scored", a_score(0.83))


def gate_failed(world: World) -> None:
    quantized(world)
    world.put(an_evaluation().gated(0.6).obj())
    succeed(world, "Evaluation", "scored", a_score(0.41))


# ------------------------------------------------------------------------------------------------------------- services


def rolling_out_first(world: World) -> None:
    world.put(a_service().with_(model=GGUF).obj())


def serving(world: World) -> None:
    world.put(a_service().with_(model=GGUF, replicas=2, parallel=2).obj())
    serve(world)


def serving_the_chain(world: World) -> None:
    passed(world)
    world.put(a_service().behind("scored").obj())
    serve(world)


def serving_the_chain_upstream_gone(world: World) -> None:
    serving_the_chain(world)
    world.delete("Evaluation", "scored")
    world.delete("Quantization", "small")
    world.delete("FineTune", "tuned")


def serving_scaled_to_zero(world: World) -> None:
    serving(world)
    change(world, "InferenceService", "chat", replicas=0)
    world.settle()
    world.serve(deployment(world))
    for pod in world.of("Pod"):
        world.delete("Pod", pod["metadata"]["name"])


def serving_one_rolling_out_another(world: World) -> None:
    serving(world)
    change(world, "InferenceService", "chat", contextLength=4096)
    world.settle()
    world.pod_of(deployment(world))


def serving_behind_a_closed_gate(world: World) -> None:
    """The next model did not pass: what serves, serves on."""
    serving_the_chain(world)
    world.delete("Quantization", "small")
    world.put(a_quantization().obj())
    succeed(world, "Quantization", "small", a_result(C, Format.GGUF))


def gate_closed_nothing_serves(world: World) -> None:
    gate_failed(world)
    world.put(a_service().behind("scored").obj())


SCENARIOS: tuple[Callable[[World], None], ...] = (
    waiting, suspended, starting, running, suspended_while_running, retrying, quantizing, evaluating, every_field,
    closed_and_not_told, failed_and_not_told, succeeded, failed, quantized, passed, gate_failed,
    rolling_out_first, serving, serving_the_chain, serving_the_chain_upstream_gone, serving_scaled_to_zero,
    serving_one_rolling_out_another, serving_behind_a_closed_gate, gate_closed_nothing_serves,
)  # fmt: skip
UNTOLD = (closed_and_not_told, failed_and_not_told)
"""Here the operator must not have looked again."""


def record() -> dict[str, list[Object]]:
    """Every scenario's objects."""
    made = {}
    for scenario in SCENARIOS:
        world = World()
        scenario(world)
        if scenario not in UNTOLD:
            world.settle()
        made[scenario.__name__.replace("_", "-")] = list(world.objects.values())
    return made


def load(objects: list[Object]) -> World:
    """A World that holds these objects, an hour later, and an operator that has just been started."""
    world = World()
    world._count = 0xA000  # uids and versions are numbers here: those of the objects are smaller
    for number, obj in enumerate(objects):
        obj["metadata"].setdefault("resourceVersion", str(number))
        world.objects[obj["kind"], obj["metadata"]["name"]] = obj
    world.pass_time(3600)
    if hasattr(world, "restart"):
        world.restart()
    return world


def settle(objects: list[Object]) -> list[Object]:
    """The objects after the operator on the path took them over."""
    world = load(objects)
    world.settle()
    return list(world.objects.values())


def main() -> None:
    """Run as a program."""
    match sys.argv[1:]:
        case ["record"]:
            json.dump(record(), sys.stdout)
        case ["settle"]:
            json.dump({name: settle(objects) for name, objects in json.load(sys.stdin).items()}, sys.stdout)
        case other:
            sys.exit(f"record or settle, not {other}")


if __name__ == "__main__":
    main()
