"""Exit code 137 taken for lack of memory.

flyteorg/flyte#8067, kubernetes/kops#18040. Expected: a pod that needed SIGKILL was interrupted; only the
kernel's word OOMKilled is lack of memory.
"""

from __future__ import annotations

import pytest

from tests.apiserver.operator import resources
from tests.apiserver.operator.cases import steps
from tests.apiserver.operator.kubelet import Kubelet, now
from tests.apiserver.operator.process import Operator
from tests.support.kube import Kube, Object
from tests.support.wait import wait_condition, wait_object

pytestmark = pytest.mark.timeout(180)
DISRUPTIONS = {
    "PreemptionByScheduler": "default-scheduler: preempting to accommodate a higher priority pod",
    "DeletionByTaintManager": "Taint manager: deleting due to NoExecute taint",
    "EvictionByEvictionAPI": "Eviction API: evicting",
    "DeletionByPodGC": "PodGC: node no longer exists",
    "TerminationByKubelet": "Pod was terminated in response to imminent node shutdown.",
}


CODES = (137, 143, 75)


def disrupted(kube: Kube, pod: Object, reason: str) -> None:
    """As whoever ends a pod says so before."""
    told = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": reason,
        "message": DISRUPTIONS[reason],
        "lastTransitionTime": now(),
    }
    patch = {"status": {"conditions": [told]}}
    kube.patch("Pod", pod["metadata"]["name"], patch, pod["metadata"]["namespace"], subresource="status")


def failure(kube: Kube, namespace: str, pod: Object, resource: str = "tuned") -> Object:
    """status.failure, once it is about this pod."""
    name = pod["metadata"]["name"]
    seen = wait_object(
        kube,
        "FineTune",
        resource,
        namespace,
        lambda o: o.get("status", {}).get("failure", {}).get("pod") == name,
        f"tells of pod {name}",
    )
    return dict(seen["status"]["failure"])


def assert_no_memory(told: Object) -> None:
    """Nobody is sent to buy memory."""
    assert told["reason"] == "Interrupted"
    words = (told["message"] + told.get("hint", "")).lower()
    assert "memory" not in words


def test_a_disruption_is_told_and_not_counted(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator, subtests: pytest.Subtests
) -> None:
    rows = {
        f"r{number}-{code}": (reason, code) for number, reason in enumerate(DISRUPTIONS) for code in CODES
    }
    for name in rows:
        kube.create(resources.fine_tune(name, namespace, backoffLimit=0))
    for name, (reason, code) in rows.items():
        with subtests.test(reason, code=code):
            pod = kubelet.pod("FineTune", name)
            kubelet.run(pod)
            disrupted(kube, pod, reason)

            kubelet.finish(pod, "", exit_code=code, reason="Error")

            told = failure(kube, namespace, pod, name)
            assert_no_memory(told)
            assert reason in told["message"] or DISRUPTIONS[reason] in told["message"], told
            again = kubelet.pod("FineTune", name, attempt=2)
            steps.succeed_running(kube, kubelet, "FineTune", name, again)
    steps.assert_well(operator)


@pytest.mark.parametrize("deleted", [True, False], ids=["kubectl delete pod", "nobody says why"])
def test_a_kill_without_a_word_is_no_lack_of_memory(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator, deleted: bool
) -> None:
    kube.create(resources.fine_tune("tuned", namespace, backoffLimit=1))
    pod = kubelet.pod("FineTune", "tuned")
    if deleted:
        steps.bind(kube, pod)
    kubelet.run(pod)
    wait_condition(kube, "FineTune", "tuned", namespace, "Reconciling", reason="Running")
    if deleted:
        kube.delete("Pod", pod["metadata"]["name"], namespace)

    kubelet.finish(pod, "", exit_code=137, reason="Error")

    assert_no_memory(failure(kube, namespace, pod))
    if deleted:
        steps.end_at_once(kube, pod)
    again = kubelet.pod("FineTune", "tuned", attempt=1 if deleted else 2)
    assert again["metadata"]["name"] != pod["metadata"]["name"]
    kubelet.finish(again, "", exit_code=137, reason="Error")
    ended = wait_condition(kube, "FineTune", "tuned", namespace, "Failed", unless="Succeeded")
    assert_no_memory(ended["status"]["failure"])


def test_a_server_that_was_killed_is_no_lack_of_memory_either(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    kube.create(resources.service("chat", namespace, steps.GGUF))
    last = {"exitCode": 137, "reason": "Error", "startedAt": now(), "finishedAt": now()}
    pod = kubelet.pod("InferenceService", "chat")

    kubelet.waiting(pod, "CrashLoopBackOff", "back-off 10s restarting", last=last, restarts=1)

    seen = wait_object(
        kube, "InferenceService", "chat", namespace, lambda o: o.get("status", {}).get("failure"), "tells it"
    )
    assert_no_memory(seen["status"]["failure"])
    assert not steps.holds(seen, "Stalled"), "it is started again: that may pass"


def test_the_kernels_word_is_lack_of_memory(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    kube.create(resources.fine_tune("tuned", namespace))
    kubelet.finish(kubelet.pod("FineTune", "tuned"), "", exit_code=137, reason="OOMKilled")
    ended = wait_condition(kube, "FineTune", "tuned", namespace, "Failed", unless="Succeeded")
    assert ended["status"]["failure"]["reason"] == "OOMKilled"
