"""A served child is deleted after its upstream went.

volcano-sh/kthena#517, kserve/kserve#949. Expected: what serves, serves on: Ready stays True when the
upstream goes, and a deleted child comes back.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.apiserver.operator import resources
from tests.apiserver.operator.cases import steps
from tests.apiserver.operator.kubelet import Kubelet
from tests.apiserver.operator.process import Operator, running
from tests.support.cluster import Cluster
from tests.support.kube import Kube, Object
from tests.support.wait import wait_condition, wait_for, wait_gone, wait_object

pytestmark = pytest.mark.timeout(240)
SMALL = {"quantization": {"name": "small"}}


def serve_the_chain(kube: Kube, namespace: str, kubelet: Kubelet) -> Object:
    """A quantized model that passed its gate is served; the service."""
    small = {"model": resources.BASE, "type": "Q8_0"}
    kube.create(resources.resource("Quantization", "small", namespace, small))
    steps.succeed(kube, kubelet, "Quantization", "small", "b", form="GGUF")
    kube.create(resources.evaluation("scored", namespace, SMALL))
    steps.succeed(
        kube,
        kubelet,
        "Evaluation",
        "scored",
        form="Report",
        inputs={"model": "b"},
        **{"humaneval/pass@1": 0.9},
    )
    kube.create(resources.service("chat", namespace, SMALL, "scored"))
    return steps.serve(kube, kubelet, "chat")


def upstream_goes(kube: Kube, namespace: str) -> None:
    """As their TTL takes them."""
    for kind, name in (("Evaluation", "scored"), ("Quantization", "small")):
        kube.patch(kind, name, {"spec": {"ttlSecondsAfterFinished": 0}}, namespace)
        wait_gone(kube, kind, name, namespace)


def ready(kube: Kube, namespace: str) -> bool:
    """Whether the service says that it serves."""
    chat = kube.get("InferenceService", "chat", namespace)
    return (
        steps.holds(chat, "Ready") and steps.holds(chat, "Available") and not steps.holds(chat, "Reconciling")
    )


@pytest.mark.parametrize("child", ["Deployment", "Service", "ConfigMap"])
def test_it_comes_back_though_the_upstream_is_gone(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator, child: str
) -> None:
    before = serve_the_chain(kube, namespace, kubelet)["status"]
    upstream_goes(kube, namespace)
    steps.steady(lambda: ready(kube, namespace), "it stays ready")
    gone = {
        found["metadata"]["name"]: found["metadata"]["uid"]
        for found in steps.of(kube, "InferenceService", "chat", namespace, child)
    }
    assert gone

    for name in gone:
        kube.delete(child, name, namespace)

    for name, uid in gone.items():
        wait_object(
            kube, child, name, namespace, lambda o, uid=uid: o["metadata"]["uid"] != uid, "is a new one"
        )
    if child == "Deployment":
        kubelet.run(kubelet.pod("InferenceService", "chat"), ready=True)
    after = wait_condition(kube, "InferenceService", "chat", namespace, "Ready")["status"]
    assert {key: after[key] for key in ("artifact", "url", "servingRevision")} == {
        key: before[key] for key in ("artifact", "url", "servingRevision")
    }
    (pod,) = steps.of(kube, "InferenceService", "chat", namespace, "Pod")
    assert steps.mounted(kube, pod)["model"]["digest"] == before["artifact"]["digest"]
    selector = kube.get("Service", "chat", namespace)["spec"]["selector"]
    assert selector.items() <= pod["metadata"]["labels"].items()
    steps.assert_well(operator)


def test_everything_at_once_and_the_operator_was_away(
    kube: Kube, crds: None, cluster: Cluster, namespace: str, kubelet: Kubelet, tmp_path: Path
) -> None:
    """What is served is remembered by the resource itself, not by whoever looked."""
    with running(cluster.kubeconfig, namespace, tmp_path) as operator:
        before = serve_the_chain(kube, namespace, kubelet)["status"]
        assert operator.stop() == 0
    for kind, name in (("Evaluation", "scored"), ("Quantization", "small")):
        kube.delete(kind, name, namespace)
    for child in ("Service", "Deployment", "ConfigMap"):
        for found in steps.of(kube, "InferenceService", "chat", namespace, child):
            kube.delete(child, found["metadata"]["name"], namespace)
    wait_for(
        lambda: steps.of(kube, "InferenceService", "chat", namespace, "Pod") == [], "its pods to be gone"
    )

    with running(cluster.kubeconfig, namespace, tmp_path) as again:
        after = steps.serve(kube, kubelet, "chat")["status"]
        assert after["artifact"] == before["artifact"]
        steps.assert_well(again)


def test_a_service_deleted_behind_a_closed_gate_takes_nothing_down(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    serve_the_chain(kube, namespace, kubelet)
    (serves,) = steps.of(kube, "InferenceService", "chat", namespace, "Deployment")
    kube.delete("Quantization", "small", namespace)
    wait_gone(kube, "Quantization", "small", namespace)
    kube.create(
        resources.resource("Quantization", "small", namespace, {"model": resources.BASE, "type": "F16"})
    )
    steps.succeed(kube, kubelet, "Quantization", "small", "c", form="GGUF")
    wait_condition(kube, "InferenceService", "chat", namespace, "GatePassed", "False")
    uid = kube.get("Service", "chat", namespace)["metadata"]["uid"]

    kube.delete("Service", "chat", namespace)

    wait_object(kube, "Service", "chat", namespace, lambda o: o["metadata"]["uid"] != uid, "is a new one")
    wait_condition(kube, "InferenceService", "chat", namespace, "Available")
    steps.steady(
        lambda: steps.holds(kube.get("InferenceService", "chat", namespace), "Available"), "it serves"
    )
    found = kube.get("Deployment", serves["metadata"]["name"], namespace)
    assert found["metadata"]["uid"] == serves["metadata"]["uid"]
