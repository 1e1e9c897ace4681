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


def running(kube: Kube, kubelet: Kubelet, names: dict[str, str]) -> dict[str, Object]:
    """A FineTune for each label, its pod running; the pods by label."""
    pods = {}
    for name in names.values():
        kube.create(resources.fine_tune(name, kubelet.namespace))
    for label, name in names.items():
        pods[label] = kubelet.pod("FineTune", name)
        kubelet.run(pods[label])
        wait_condition(kube, "FineTune", name, kubelet.namespace, "Reconciling", reason="Running")
    return pods


def test_a_run_is_seen_to_its_end(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator, subtests: pytest.Subtests
) -> None:
    names = {label: f"tuned-{number}" for number, label in enumerate(LABELS)}
    for label, pod in running(kube, kubelet, names).items():
        with subtests.test(label):
            (job,) = steps.of(kube, "FineTune", names[label], namespace, "Job")
            upset(kube, job, label)
            jobs = steps.of(kube, "FineTune", names[label], namespace, "Job")
            assert [found["metadata"]["uid"] for found in jobs] == [job["metadata"]["uid"]]
            steps.succeed_running(kube, kubelet, "FineTune", names[label], pod)
    made = [event for event in kube.list("Event", namespace) if _made(event)]
    assert len({event["message"] for event in made}) == len(names)
    steps.assert_well(operator)


def _made(event: Object) -> bool:
    return bool(event["reason"] == "SuccessfulCreate" and event["involvedObject"]["kind"] == "Job")


def test_the_label_of_a_pod_comes_back(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator, subtests: pytest.Subtests
) -> None:
    names = {label: f"tuned-{number}" for number, label in enumerate(LABELS)}
    for label, pod in running(kube, kubelet, names).items():
        with subtests.test(label):
            relabel(kube, pod, label, "kyverno")
            relabel(kube, pod, label, pod["metadata"]["labels"][label])
            steps.succeed_running(kube, kubelet, "FineTune", names[label], pod)
    steps.assert_well(operator)


def test_what_serves_serves_on(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator, subtests: pytest.Subtests
) -> None:
    kube.create(resources.service("chat", namespace, steps.GGUF))
    url = steps.serve(kube, kubelet, "chat")["status"]["url"]
    (deployment,) = steps.of(kube, "InferenceService", "chat", namespace, "Deployment")
    children = [deployment, kube.get("Service", "chat", namespace)]

    for label in LABELS:
        with subtests.test(label):
            for child in children:
                upset(kube, child, label)
    steps.steady(lambda: _serves(kube, namespace, url), "it serves, and has its address")
    for child in children:
        found = kube.get(child["kind"], child["metadata"]["name"], namespace)
        assert found["metadata"]["uid"] == child["metadata"]["uid"]
    kube.patch("InferenceService", "chat", {"spec": {"replicas": 0}}, namespace)
    wait_condition(kube, "InferenceService", "chat", namespace, "Ready", reason="ScaledToZero")
    steps.assert_well(operator)


def _serves(kube: Kube, namespace: str, url: str) -> bool:
    chat = kube.get("InferenceService", "chat", namespace)
    return steps.holds(chat, "Available") and chat["status"].get("url") == url
