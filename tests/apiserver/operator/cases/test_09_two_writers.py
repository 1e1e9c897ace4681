"""The Job is deleted while its pod still ends.

volcano-sh/volcano#2284, kubeflow/common#215, kubernetes/website#41745. Expected: two attempts never write
at once: the next one waits for the pod of the one before, and says so.
"""

from __future__ import annotations

import pytest

from tests.apiserver.operator import resources
from tests.apiserver.operator.cases import steps
from tests.apiserver.operator.kubelet import Kubelet
from tests.apiserver.operator.process import Operator
from tests.support.kube import Kube, Object
from tests.support.wait import wait_condition, wait_for

pytestmark = pytest.mark.timeout(180)


def start(kube: Kube, kubelet: Kubelet, namespace: str) -> Object:
    """A run whose pod is on a node: it ends when its kubelet says so."""
    kube.create(resources.fine_tune("tuned", namespace))
    pod = kubelet.pod("FineTune", "tuned")
    steps.bind(kube, pod)
    kubelet.run(pod)
    wait_condition(kube, "FineTune", "tuned", namespace, "Reconciling", reason="Running")
    return pod


def test_the_next_attempt_waits_for_the_pod_before(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    pod = start(kube, kubelet, namespace)
    name = pod["metadata"]["name"]

    kube.delete("Job", pod["metadata"]["labels"]["job-name"], namespace)

    wait_for(
        lambda: name in steps.said(kube, "FineTune", "tuned", namespace),
        f"it to say that it waits for {name}",
    )
    steps.steady(lambda: len(kube.list("Pod", namespace)) == 1, "no pod is made beside the one that ends")
    assert "deletionTimestamp" in kube.get("Pod", name, namespace)["metadata"]
    steps.end_at_once(kube, pod)
    steps.succeed(kube, kubelet, "FineTune", "tuned")
    steps.assert_well(operator)


@pytest.mark.parametrize("propagation", ["Background", "Orphan"])
def test_the_same_content_created_again_waits_too(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator, propagation: str
) -> None:
    """Its output is the same folder: what decides the result names it, the uid does not."""
    pod = start(kube, kubelet, namespace)
    mine = steps.mounted(kube, pod)["output"]
    kube.delete("FineTune", "tuned", namespace, propagation=propagation)
    if propagation == "Orphan":  # then the Job goes, by hand
        wait_for(lambda: kube.find("FineTune", "tuned", namespace) is None, "it to be gone")
        kube.delete("Job", pod["metadata"]["labels"]["job-name"], namespace)
    wait_for(
        lambda: "deletionTimestamp" in kube.get("Pod", pod["metadata"]["name"], namespace)["metadata"],
        "the pod to be asked to end",
    )

    kube.create(resources.fine_tune("tuned", namespace))

    wait_condition(kube, "FineTune", "tuned", namespace, "Ready", "False")
    steps.steady(lambda: _alone(kube, pod, mine), "one pod writes there")
    steps.end_at_once(kube, pod)
    for left in kube.list("ConfigMap", namespace, labels=f"{steps.MANAGED_BY}={steps.OPERATOR}"):
        if not left["metadata"].get("ownerReferences"):  # nobody's: it is told, and deleted by hand
            kube.delete("ConfigMap", left["metadata"]["name"], namespace)
    again = kubelet.pod("FineTune", "tuned")
    assert steps.output(kube, again) == mine
    steps.succeed_running(kube, kubelet, "FineTune", "tuned", again)


def _alone(kube: Kube, pod: Object, mine: str) -> bool:
    beside = [
        p
        for p in kube.list("Pod", pod["metadata"]["namespace"])
        if p["metadata"]["uid"] != pod["metadata"]["uid"]
    ]
    return mine not in [steps.output(kube, found) for found in beside]


def test_other_content_writes_elsewhere_and_need_not_wait(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    pod = start(kube, kubelet, namespace)
    mine = steps.mounted(kube, pod)["output"]
    kube.delete("FineTune", "tuned", namespace)
    kube.create(resources.fine_tune("tuned", namespace, hyperparameters={"seed": 7}))

    again = kubelet.pod("FineTune", "tuned", attempt=2)

    assert steps.output(kube, again) != mine
    steps.end_at_once(kube, pod)
