"""Delete and create again under one name.

kubeflow/trainer#1306, volcano-sh/volcano#2284. Expected: nothing of the old one leaks into the new one, and
nothing is made while the old one goes.
"""

from __future__ import annotations

import pytest

from tests.apiserver.operator import resources
from tests.apiserver.operator.cases import steps
from tests.apiserver.operator.kubelet import Kubelet
from tests.apiserver.operator.process import Operator
from tests.support.kube import Kube
from tests.support.wait import wait_condition, wait_for, wait_gone, wait_object

pytestmark = pytest.mark.timeout(240)


@pytest.mark.parametrize("propagation", ["Background", "Foreground"])
def test_the_old_ones_end_is_not_the_new_ones(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator, propagation: str
) -> None:
    kube.create(resources.fine_tune("tuned", namespace))
    kube.create(resources.quantization("small", namespace, "tuned"))
    pod = kubelet.pod("FineTune", "tuned")
    steps.bind(kube, pod)
    kubelet.run(pod)
    wait_condition(kube, "FineTune", "tuned", namespace, "Reconciling", reason="Running")
    old_job = pod["metadata"]["labels"]["job-name"]
    old_result = steps.published(kube, pod, "b")

    kube.delete("FineTune", "tuned", namespace, propagation=propagation)
    if propagation == "Foreground":
        wait_object(
            kube,
            "Pod",
            pod["metadata"]["name"],
            namespace,
            lambda o: "deletionTimestamp" in o["metadata"],
            "ends",
        )
        steps.steady(lambda: _jobs(kube, namespace) <= {old_job}, "nothing is made while the owner waits")
        kubelet.finish(pod, "", exit_code=75)
        steps.end_at_once(kube, pod)
        wait_gone(kube, "FineTune", "tuned", namespace)
    new = kube.create(resources.fine_tune("tuned", namespace, hyperparameters={"seed": 7}))
    wait_for(lambda: _jobs(kube, namespace) - {old_job}, "a Job of the new one's own")
    if propagation == "Background":
        kubelet.finish(pod, old_result)  # the old pod ends well, with another artifact
        steps.end_at_once(kube, pod)

    steps.steady(
        lambda: "artifact" not in _status(kube, namespace), "the old one's artifact is not the new one's"
    )
    assert "WaitingForInput" in steps.said(kube, "Quantization", "small", namespace)
    ended = steps.succeed(kube, kubelet, "FineTune", "tuned", "c")
    assert ended["metadata"]["uid"] == new["metadata"]["uid"]
    assert ended["status"]["artifact"]["digest"].startswith("sha256:c")
    small = steps.mounted(kube, kubelet.pod("Quantization", "small"))
    assert small["model"]["digest"].startswith("sha256:c")
    steps.assert_well(operator)


def _jobs(kube: Kube, namespace: str) -> set[str]:
    return {j["metadata"]["name"] for j in steps.of(kube, "FineTune", "tuned", namespace, "Job")}


def _status(kube: Kube, namespace: str) -> dict[str, object]:
    status: dict[str, object] = kube.get("FineTune", "tuned", namespace).get("status", {})
    return status


def test_the_same_content_again_is_not_trained_again(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    """A restore, `kubectl replace --force`, GitOps after a TTL: the stage finds its artifact where it was."""
    kube.create(resources.fine_tune("tuned", namespace))
    pod = kubelet.pod("FineTune", "tuned")
    mine = steps.output(kube, pod)
    steps.succeed_running(kube, kubelet, "FineTune", "tuned", pod)
    kube.delete("FineTune", "tuned", namespace)
    steps.all_gone(kube, "Pod", namespace)

    kube.create(resources.fine_tune("tuned", namespace))

    again = kubelet.pod("FineTune", "tuned")
    assert steps.output(kube, again) == mine
    result = steps.published(kube, again).model_copy(update={"reused": True})
    kubelet.finish(again, result)
    ended = wait_condition(kube, "FineTune", "tuned", namespace, "Succeeded", unless="Failed")
    assert "Reused" in steps.text(ended, "Succeeded") + steps.text(ended)
