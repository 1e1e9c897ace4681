"""cascade=orphan, or a restore without owner references.

knative/serving#10926, velero-io/velero#4707. Expected: a clear word, and nothing that is somebody else's is
taken over.
"""

from __future__ import annotations

import re

import pytest

from tests.apiserver.operator import resources
from tests.apiserver.operator.cases import steps
from tests.apiserver.operator.kubelet import Kubelet
from tests.apiserver.operator.process import Operator
from tests.support.kube import Kube, Object
from tests.support.wait import wait_condition, wait_for, wait_gone, wait_object

pytestmark = pytest.mark.timeout(240)
NAMED = re.compile(r"\b(Service|Job|Deployment|ConfigMap) ([-a-z0-9]+)")


def orphan(kube: Kube, kind: str, name: str, namespace: str) -> list[Object]:
    """Delete a resource and leave what it owned; that."""
    kube.delete(kind, name, namespace, propagation="Orphan")
    wait_gone(kube, kind, name, namespace)
    labels = f"{steps.MANAGED_BY}={steps.OPERATOR},speechless.dev/name={name}"
    found = [
        o
        for k in ("Service", "Job", "Deployment", "ConfigMap")
        for o in kube.list(k, namespace, labels=labels)
    ]
    assert found
    assert [o["metadata"]["name"] for o in found if o["metadata"].get("ownerReferences")] == []
    return found


def go_on_as_told(kube: Kube, kind: str, name: str, namespace: str, done: str) -> list[str]:
    """Do what the resource says, until it gets on: whatever it names is deleted. What was named."""
    named: list[str] = []

    def step() -> bool:
        found = kube.find(kind, name, namespace)
        if any(steps.holds(found, type_) for type_ in (done, "Succeeded")):
            return True
        told = steps.text(found)
        match = NAMED.search(told) if "NameConflict" in told else None
        if match and match[0] not in named:  # once: what comes in its place is the resource's own
            named.append(match[0])
            kube.delete(match[1], match[2], namespace, missing_ok=True)
        for pod in steps.of(kube, kind, name, namespace, "Pod"):
            if pod["status"].get("phase") == "Pending" and not pod["status"].get("containerStatuses"):
                if kind == "InferenceService":
                    Kubelet(kube, namespace).run(pod, ready=True)
                elif pod["metadata"].get("ownerReferences"):
                    Kubelet(kube, namespace).finish(pod, steps.published(kube, pod))
        return False

    wait_for(
        step,
        f"{kind} {name} to get on",
        timeout=120,
        interval=0.5,
        describe=lambda: steps.said(kube, kind, name, namespace),
    )
    return named


def assert_not_taken_over(kube: Kube, namespace: str, orphans: list[Object]) -> None:
    """What was left is as it was, or was deleted by hand. A revision's Service alone holds nothing: it may be taken."""
    for obj in orphans:
        if obj["kind"] == "Service" and obj["metadata"]["name"] != "chat":
            continue
        found = kube.find(obj["kind"], obj["metadata"]["name"], namespace)
        if found and found["metadata"]["uid"] == obj["metadata"]["uid"]:
            assert not found["metadata"].get("ownerReferences"), f"{obj['kind']} {obj['metadata']['name']}"


def test_a_services_orphans(kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator) -> None:
    kube.create(resources.service("chat", namespace, steps.GGUF))
    steps.serve(kube, kubelet, "chat")
    orphans = orphan(kube, "InferenceService", "chat", namespace)

    kube.create(resources.service("chat", namespace, steps.GGUF))

    wait_condition(kube, "InferenceService", "chat", namespace, "Ready", "False")
    named = go_on_as_told(kube, "InferenceService", "chat", namespace, "Ready")
    assert "Service chat" in named
    assert_not_taken_over(kube, namespace, orphans)
    steps.assert_well(operator)


def test_a_runs_orphans(kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator) -> None:
    kube.create(resources.fine_tune("tuned", namespace))
    pod = kubelet.pod("FineTune", "tuned")
    kubelet.run(pod)
    wait_condition(kube, "FineTune", "tuned", namespace, "Reconciling", reason="Running")
    orphans = orphan(kube, "FineTune", "tuned", namespace)

    kube.create(resources.fine_tune("tuned", namespace))

    told = wait_object(kube, "FineTune", "tuned", namespace, steps.text, "says where it stands")
    assert not steps.holds(told, "Succeeded")
    # The orphan's pod still writes to the place of that content: nothing starts beside it.
    steps.steady(lambda: len(_alive(kube, namespace)) == 1, "one pod")
    # Its Job goes, by the word of the resource or by hand, and with it the pod.
    kube.delete("Job", pod["metadata"]["labels"]["job-name"], namespace, missing_ok=True)
    go_on_as_told(kube, "FineTune", "tuned", namespace, "Succeeded")
    assert_not_taken_over(kube, namespace, orphans)
    steps.assert_well(operator)


def _alive(kube: Kube, namespace: str) -> list[Object]:
    ended = ("Succeeded", "Failed")
    return [pod for pod in kube.list("Pod", namespace) if pod["status"].get("phase") not in ended]
