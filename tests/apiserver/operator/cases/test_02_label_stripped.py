"""A child leaves the label selector and comes back.

openshift/external-secrets-operator#153. Expected: the operator puts its label back, and sees its child as
before.
"""

from __future__ import annotations

import pytest

from tests.apiserver.operator import resources
from tests.apiserver.operator.cases import steps
from tests.apiserver.operator.kubelet import Kubelet
from tests.apiserver.operator.process import Operator
from tests.support.kube import Kube, Object
from tests.support.wait import wait_condition, wait_object

pytestmark = pytest.mark.timeout(180)
LABELS = (steps.MANAGED_BY, "speechless.dev/kind", "speechless.dev/name", "speechless.dev/uid")


def relabel(kube: Kube, obj: Object, label: str, value: str | None) -> None:
    """Another hand changes a label, or takes it."""
    meta = obj["metadata"]
    kube.patch(obj["kind"], meta["name"], {"metadata": {"labels": {label: value}}}, meta["namespace"])


def upset(kube: Kube, obj: Object, label: str) -> None:
    """A label is changed, then taken; what the operator watches by, it puts back; the rest we put back."""
    meta, before = obj["metadata"], obj["metadata"]["labels"][label]
    for value in ("kyverno", None):
        relabel(kube, obj, label, value)
        if label != steps.MANAGED_BY:
            relabel(kube, obj, label, before)
        wait_object(
            kube,
            obj["kind"],
            meta["name"],
            meta["namespace"],
            lambda o: o["metadata"].get("labels", {}).get(label) == before,
            f"has its label {label} again",
        )


@pytest.mark.parametrize("label", LABELS)
def test_a_run_is_seen_to_its_end(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator, label: str
) -> None:
    kube.create(resources.fine_tune("tuned", namespace))
    pod = kubelet.pod("FineTune", "tuned")
    kubelet.run(pod)
    wait_condition(kube, "FineTune", "tuned", namespace, "Reconciling", reason="Running")
    (job,) = kube.list("Job", namespace)

    upset(kube, job, label)

    assert [found["metadata"]["uid"] for found in kube.list("Job", namespace)] == [job["metadata"]["uid"]]
    steps.succeed_running(kube, kubelet, "FineTune", "tuned", pod)
    assert len({event["message"] for event in kube.list("Event", namespace) if _made(event)}) == 1
    steps.assert_well(operator)


def _made(event: Object) -> bool:
    return bool(event["reason"] == "SuccessfulCreate" and event["involvedObject"]["kind"] == "Job")


@pytest.mark.parametrize("label", LABELS)
def test_the_label_of_a_pod_comes_back(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator, label: str
) -> None:
    kube.create(resources.fine_tune("tuned", namespace))
    pod = kubelet.pod("FineTune", "tuned")
    kubelet.run(pod)
    wait_condition(kube, "FineTune", "tuned", namespace, "Reconciling", reason="Running")
    (pod,) = kube.list("Pod", namespace)

    relabel(kube, pod, label, "kyverno")
    relabel(kube, pod, label, pod["metadata"]["labels"][label])

    steps.succeed_running(kube, kubelet, "FineTune", "tuned", pod)
    steps.assert_well(operator)


@pytest.mark.parametrize("label", LABELS)
def test_what_serves_serves_on(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator, label: str
) -> None:
    kube.create(resources.service("chat", namespace, steps.GGUF))
    url = steps.serve(kube, kubelet, "chat")["status"]["url"]
    children = [
        steps.of(kube, "InferenceService", "chat", namespace, k)[0] for k in ("Deployment", "Service")
    ]

    for child in children:
        upset(kube, child, label)

    steps.steady(lambda: _serves(kube, namespace, url), "it is Ready, and has its address")
    for child in children:
        found = kube.get(child["kind"], child["metadata"]["name"], namespace)
        assert found["metadata"]["uid"] == child["metadata"]["uid"]
    kube.patch("InferenceService", "chat", {"spec": {"replicas": 0}}, namespace)
    wait_condition(kube, "InferenceService", "chat", namespace, "Ready", reason="ScaledToZero")
    steps.assert_well(operator)


def _serves(kube: Kube, namespace: str, url: str) -> bool:
    chat = kube.get("InferenceService", "chat", namespace)
    return steps.holds(chat, "Available") and chat["status"].get("url") == url
