"""The chain from a FineTune to a served model: references in any order, digests, gates, revisions."""

from __future__ import annotations

import pytest

from speechless.contract import Format
from tests.apiserver.operator import resources
from tests.apiserver.operator.kubelet import DIGESTS, Kubelet, succeeded
from tests.apiserver.operator.process import Operator
from tests.support.explain import condition
from tests.support.kube import Kube, Object
from tests.support.wait import wait_condition, wait_for, wait_gone, wait_object

pytestmark = pytest.mark.timeout(180)
SMALL = {"quantization": {"name": "small"}}


def inputs(obj: Object) -> dict[str, Object]:
    """status.inputs by name."""
    return {found["name"]: found for found in obj["status"]["inputs"]}


def train(kube: Kube, kubelet: Kubelet, name: str = "tuned", digest: str = "a") -> Object:
    """Let a FineTune that exists succeed."""
    pod = kubelet.pod("FineTune", name)
    kubelet.run(pod)
    wait_condition(kube, "FineTune", name, kubelet.namespace, "Reconciling", reason="Running")
    kubelet.finish(pod, succeeded(digest, inputs={"model": "d", "dataset": "e"}))
    return wait_condition(kube, "FineTune", name, kubelet.namespace, "Succeeded", unless="Failed")


def quantize(kube: Kube, kubelet: Kubelet, name: str = "small", digest: str = "b") -> Object:
    """Let a Quantization that exists succeed."""
    kubelet.finish(
        kubelet.pod("Quantization", name),
        succeeded(digest, form=Format.GGUF),
    )
    return wait_condition(kube, "Quantization", name, kubelet.namespace, "Succeeded", unless="Failed")


def evaluate(kube: Kube, kubelet: Kubelet, name: str, score: float) -> Object:
    """Let an Evaluation that exists end with a score."""
    kubelet.finish(
        kubelet.pod("Evaluation", name), succeeded("c", form=Format.REPORT, **{"humaneval/pass@1": score})
    )
    return wait_condition(kube, "Evaluation", name, kubelet.namespace, "Succeeded", unless="Failed")


def serving_digest(kube: Kube, namespace: str, name: str = "chat") -> str:
    """The digest that an InferenceService says it serves."""
    status = (kube.find("InferenceService", name, namespace) or {}).get("status", {})
    return str(status.get("artifact", {}).get("digest", ""))


def test_resources_applied_in_reverse_order_become_a_served_model(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    kube.create(resources.service("chat", namespace, SMALL, "quantized"))
    kube.create(resources.evaluation("quantized", namespace, SMALL))
    waits = wait_condition(
        kube, "Evaluation", "quantized", namespace, "Ready", "False", reason="WaitingForInput"
    )
    assert condition(waits, "Ready")["message"] == "waits for Quantization small, which does not exist yet"
    kube.create(resources.quantization("small", namespace, "tuned"))
    kube.create(resources.fine_tune("tuned", namespace))

    tuned = train(kube, kubelet)

    status = tuned["status"]
    assert status["phase"] == "Succeeded"
    assert status["artifact"] == {
        "uri": f"pvc://artifacts/store/{namespace}/finetune/tuned/{status['run']['name']}",
        "digest": DIGESTS["a"],
        "sizeBytes": 1234,
        "format": "HuggingFace",
    }
    assert inputs(tuned)["model"] == {"name": "model", "uri": "pvc://models/base", "digest": DIGESTS["d"]}
    assert inputs(tuned)["dataset"]["digest"] == DIGESTS["e"]
    assert status["provenance"]["seed"] == 42
    assert status["provenance"]["imageDigest"].endswith(DIGESTS["f"])
    assert status["observedGeneration"] == 1
    assert condition(tuned, "Ready")["status"] == "True"
    assert condition(tuned, "Reconciling") is None
    wait_for(
        lambda: kube.get("FineTune", "tuned", namespace)["status"].get("progress", {}).get("percent") == 100,
        "progress to be at 100 %",
    )

    small = quantize(kube, kubelet)
    model = inputs(small)["model"]
    assert (model["kind"], model["resource"], model["digest"]) == ("FineTune", "tuned", DIGESTS["a"])
    assert model["uid"] == tuned["metadata"]["uid"]
    wait_condition(kube, "InferenceService", "chat", namespace, "ModelResolved")
    assert kube.list("Deployment", namespace) == [], "the gate is closed: nothing may run"

    quantized = evaluate(kube, kubelet, "quantized", 0.83)
    assert condition(quantized, "Passed")["message"] == "humaneval/pass@1 0.83 >= 0.6"
    assert quantized["status"]["score"] == "humaneval/pass@1 0.83"

    wait_condition(kube, "InferenceService", "chat", namespace, "GatePassed")
    pod = kubelet.pod("InferenceService", "chat")
    assert kube.find("Service", "chat", namespace) is None, "nothing is ready yet"
    kubelet.run(pod, ready=True)
    served = wait_condition(kube, "InferenceService", "chat", namespace, "Ready")
    assert served["status"]["url"] == f"http://chat.{namespace}.svc/v1"
    assert serving_digest(kube, namespace) == DIGESTS["b"]
    selector = kube.get("Service", "chat", namespace)["spec"]["selector"]
    assert selector.items() <= pod["metadata"]["labels"].items()


def test_a_gate_that_fails_serves_nothing_and_says_which_number(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    kube.create(resources.fine_tune("tuned", namespace))
    kube.create(resources.quantization("small", namespace, "tuned"))
    kube.create(resources.evaluation("quantized", namespace, SMALL))
    kube.create(resources.service("chat", namespace, SMALL, "quantized"))
    train(kube, kubelet)
    quantize(kube, kubelet)
    evaluate(kube, kubelet, "quantized", 0.41)

    closed = wait_condition(
        kube, "InferenceService", "chat", namespace, "GatePassed", "False", reason="GateFailed"
    )

    assert condition(closed, "GatePassed")["message"] == "evaluation quantized: humaneval/pass@1 0.41 < 0.6"
    assert condition(closed, "Stalled")["status"] == "True"
    assert condition(closed, "Available")["status"] == "False"
    assert kube.list("Deployment", namespace) == []
    assert kube.find("Service", "chat", namespace) is None
    (verdict,) = closed["status"]["gate"]["evaluations"]
    assert verdict["passed"] is False

    annotation = {"metadata": {"annotations": {"speechless.dev/gate-override": "the demo of Friday"}}}
    kube.patch("InferenceService", "chat", annotation, namespace)

    opened = wait_condition(kube, "InferenceService", "chat", namespace, "GatePassed", reason="Overridden")
    assert opened["status"]["gate"]["override"] == {"reason": "the demo of Friday", "digest": DIGESTS["b"]}
    kubelet.run(kubelet.pod("InferenceService", "chat"), ready=True)
    wait_condition(kube, "InferenceService", "chat", namespace, "Ready")
    told = wait_for(
        lambda: [e for e in kube.list("Event", namespace) if e["reason"] == "Overridden"], "its Event"
    )
    assert "the demo of Friday" in told[0]["message"]
    assert told[0]["type"] == "Warning"


def test_the_old_revision_serves_until_the_new_one_passed_and_is_ready(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    kube.create(resources.fine_tune("tuned", namespace))
    kube.create(resources.quantization("small", namespace, "tuned"))
    train(kube, kubelet)
    quantize(kube, kubelet)
    kube.create(resources.evaluation("quantized", namespace, SMALL))
    evaluate(kube, kubelet, "quantized", 0.9)
    kube.create(resources.service("chat", namespace, SMALL, "quantized"))
    first_pod = kubelet.pod("InferenceService", "chat")
    kubelet.run(first_pod, ready=True)
    first = wait_condition(kube, "InferenceService", "chat", namespace, "Ready")["status"]["servingRevision"]

    # The same name, another artifact: what the evaluation scored is not what would be served.
    kube.delete("Quantization", "small", namespace)
    wait_gone(kube, "Quantization", "small", namespace)
    kube.create(resources.quantization("small", namespace, "tuned"))
    quantize(kube, kubelet, digest="f")
    closed = wait_condition(
        kube, "InferenceService", "chat", namespace, "GatePassed", "False", reason="GateFailed"
    )
    assert (
        "scored another artifact (bbbbbbbbbbbb), not this one (ffffffffffff)"
        in condition(closed, "GatePassed")["message"]
    )
    assert condition(closed, "Available")["status"] == "True"
    assert serving_digest(kube, namespace) == DIGESTS["b"]

    kube.delete("Evaluation", "quantized", namespace)
    wait_gone(kube, "Evaluation", "quantized", namespace)
    kube.create(resources.evaluation("quantized", namespace, SMALL))
    evaluate(kube, kubelet, "quantized", 0.7)
    second_pod = kubelet.pod("InferenceService", "chat", attempt=2)
    assert kube.get("Service", "chat", namespace)["spec"]["selector"]["speechless.dev/revision"] == first
    assert serving_digest(kube, namespace) == DIGESTS["b"]

    kubelet.run(second_pod, ready=True)

    wait_for(lambda: serving_digest(kube, namespace) == DIGESTS["f"], "the new revision to serve")
    wait_condition(kube, "InferenceService", "chat", namespace, "Ready")
    # What served before is deleted after the new revision serves, and collected by the cluster in its own time.
    wait_gone(kube, "Deployment", f"chat-slis-{first}", namespace)
    wait_gone(kube, "ConfigMap", f"chat-slis-{first}", namespace)
    (left,) = kube.list("Deployment", namespace)
    assert left["metadata"]["labels"]["speechless.dev/revision"] != first


def test_scaling_changes_the_served_revision_alone(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    kube.create(resources.service("chat", namespace, {"uri": "pvc://models/chat.gguf"}))
    kubelet.run(kubelet.pod("InferenceService", "chat"), ready=True)
    served = wait_condition(kube, "InferenceService", "chat", namespace, "Ready")
    revision = served["status"]["servingRevision"]

    scale = {"spec": {"replicas": 2}}
    kube.patch("InferenceService", "chat", scale, namespace, subresource="scale")

    wait_object(
        kube, "Deployment", f"chat-slis-{revision}", namespace, lambda d: d["spec"]["replicas"] == 2, "has 2"
    )
    kubelet.run(kubelet.pod("InferenceService", "chat", attempt=2), ready=True)
    wait_object(
        kube,
        "InferenceService",
        "chat",
        namespace,
        lambda found: (
            found["status"].get("readyReplicas") == 2 and found["status"]["servingRevision"] == revision
        ),
        "has 2 ready pods of the same revision",
    )
    scale = {"spec": {"replicas": 0}}
    kube.patch("InferenceService", "chat", scale, namespace, subresource="scale")
    wait_condition(kube, "InferenceService", "chat", namespace, "Ready", reason="ScaledToZero")


def test_deleting_a_resource_takes_everything_along(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    kube.create(resources.fine_tune("tuned", namespace))
    kube.create(resources.service("chat", namespace, {"uri": "pvc://models/chat.gguf"}))
    kubelet.run(kubelet.pod("FineTune", "tuned"))
    kubelet.run(kubelet.pod("InferenceService", "chat"), ready=True)
    wait_condition(kube, "InferenceService", "chat", namespace, "Ready")

    kube.delete("FineTune", "tuned", namespace)
    kube.delete("InferenceService", "chat", namespace)

    labels = "app.kubernetes.io/managed-by=speechless-operator"
    for kind in ("Job", "Deployment", "Service", "ConfigMap", "Pod"):
        wait_for(
            lambda kind=kind: [c for c in kube.list(kind, namespace, labels=labels) if _lives(c)] == [],
            f"every {kind} to be gone",
        )


def _lives(child: Object) -> bool:
    """A running pod has no kubelet here that would end it: to be asked to end is all that can happen to it."""
    return "deletionTimestamp" not in child["metadata"]
