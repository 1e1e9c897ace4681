"""What an autoscaler sees during a rollout.

restatedev/restate-operator#139, argoproj/argo-rollouts#4074. Expected: scale.status.selector and .replicas
speak of the same pods: those of the serving revision.
"""

from __future__ import annotations

import pytest

from tests.apiserver.operator import resources
from tests.apiserver.operator.cases import steps
from tests.apiserver.operator.cases.conftest import Another
from tests.apiserver.operator.kubelet import Kubelet
from tests.apiserver.operator.process import Operator
from tests.support.kube import Kube, Object
from tests.support.wait import wait_condition, wait_object, wait_pods

pytestmark = pytest.mark.timeout(240)
REVISION = "speechless.dev/revision"


def scale(kube: Kube, namespace: str) -> Object:
    """The scale subresource."""
    found: Object = kube.request(
        "GET", f"/apis/speechless.dev/v1alpha1/namespaces/{namespace}/inferenceservices/chat/scale"
    )
    return found


def assert_one_revision(kube: Kube, namespace: str) -> None:
    """The selector takes the serving revision's pods, and as many as are told."""
    told = scale(kube, namespace)["status"]
    serving = kube.get("InferenceService", "chat", namespace)["status"]["servingRevision"]
    chosen = [
        pod
        for pod in kube.list("Pod", namespace, labels=told["selector"])
        if "deletionTimestamp" not in pod["metadata"]
    ]
    assert {pod["metadata"]["labels"][REVISION] for pod in chosen} == {serving}
    assert len(chosen) == told["replicas"] == 2


def test_the_selector_takes_the_serving_pods_alone(
    kube: Kube, namespace: str, another: Another, kubelet: Kubelet, operator: Operator
) -> None:
    kube.create(resources.service("chat", namespace, {"uri": "pvc://models/one.gguf"}, replicas=2))
    assert scale(kube, namespace)["spec"]["replicas"] == 2
    for attempt in (1, 2):
        kubelet.run(kubelet.pod("InferenceService", "chat", attempt=attempt), ready=True)
    wait_condition(kube, "InferenceService", "chat", namespace, "Ready")
    assert_one_revision(kube, namespace)

    # A new revision starts, and is not ready.
    kube.patch("InferenceService", "chat", {"spec": {"contextLength": 4096}}, namespace)
    wait_pods(kube, namespace, "speechless.dev/name=chat", 4)
    assert_one_revision(kube, namespace)

    # It gets ready: the selector moves with what serves.
    before = kube.get("InferenceService", "chat", namespace)["status"]["servingRevision"]
    for attempt in (3, 4):
        kubelet.run(kubelet.pod("InferenceService", "chat", attempt=attempt), ready=True)
    wait_object(
        kube,
        "InferenceService",
        "chat",
        namespace,
        lambda o: o["status"]["servingRevision"] != before and o["status"]["replicas"] == 2,
        "serves the new revision",
    )
    wait_condition(kube, "InferenceService", "chat", namespace, "Ready")
    assert_one_revision(kube, namespace)


def test_an_autoscaler_is_obeyed(kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator) -> None:
    kube.create(resources.service("chat", namespace, steps.GGUF))
    steps.serve(kube, kubelet, "chat")
    target = {"apiVersion": resources.API_VERSION, "kind": "InferenceService", "name": "chat"}
    cpu = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
    }
    kube.create(
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "chat", "namespace": namespace},
            "spec": {"scaleTargetRef": target, "minReplicas": 3, "maxReplicas": 5, "metrics": [cpu]},
        }
    )

    def deployed(obj: Object) -> bool:
        (found,) = steps.of(kube, "InferenceService", "chat", namespace, "Deployment")
        return bool(obj["spec"]["replicas"] == 3 and found["spec"]["replicas"] == 3)

    wait_object(kube, "InferenceService", "chat", namespace, deployed, "has 3 pods", timeout=90)
    steps.assert_well(operator)
