"""The pod is refused: account, priority class, runtime class, limits, a webhook that is down.

kubernetes/kubernetes#100726, ray-project/kuberay#2210. Expected: told on the resource in the API server's
words, with advice that fits, and mended when the cause goes.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.apiserver.operator import resources
from tests.apiserver.operator.cases import steps
from tests.apiserver.operator.kubelet import Kubelet
from tests.apiserver.operator.process import Operator
from tests.support.kube import Kube, Object
from tests.support.namespaces import RUN_LABEL
from tests.support.wait import wait_object

pytestmark = pytest.mark.timeout(180)
PODS: dict[str, tuple[Object, str]] = {
    "no-account": ({"serviceAccountName": "nobody"}, 'serviceaccount "nobody" not found'),
    "no-priority": ({"priorityClassName": "urgent"}, "urgent"),
    "no-runtime": ({"runtimeClassName": "gvisor"}, "gvisor"),
    "too-large": ({"resources": {"limits": {"memory": "8Gi"}, "requests": {"memory": "16Gi"}}}, "memory"),
    "unknown-resource": ({"resources": {"limits": {"gpu": "1"}}}, "gpu"),
    "bad-selector": ({"nodeSelector": {"disk type": "ssd"}}, "disk type"),
}


@pytest.fixture
def webhook(kube: Kube, namespace: str, run_id: str) -> Iterator[str]:
    """A policy for this namespace's pods whose server is down."""
    name = f"down-{namespace}"
    where = {"namespace": namespace, "name": "nowhere", "path": "/"}
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    kube.create(
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": name, "labels": {RUN_LABEL: run_id}},
            "webhooks": [
                {
                    "name": "pods.policy.example.com",
                    "admissionReviewVersions": ["v1"],
                    "sideEffects": "None",
                    "failurePolicy": "Fail",
                    "timeoutSeconds": 1,
                    "clientConfig": {"service": where},
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                    "rules": [rule],
                }
            ],
        }
    )
    yield name
    kube.delete("ValidatingWebhookConfiguration", name, missing_ok=True)


def refused(kube: Kube, kind: str, namespace: str, word: str, name: str = "tuned") -> Object:
    """Wait until a resource says what the API server said."""
    return wait_object(
        kube, kind, name, namespace, lambda o: word in steps.text(o), f"tells what has {word!r} in it"
    )


def assert_advice_fits(told: Object) -> None:
    """Pod Security has nothing to do with any of these."""
    assert "Pod Security" not in steps.text(told)


def test_the_refusal_is_told_in_the_servers_words(
    kube: Kube, namespace: str, operator: Operator, subtests: pytest.Subtests
) -> None:
    for name, (pod, _) in PODS.items():
        for obj in (
            resources.fine_tune(name, namespace, pod=pod),
            resources.service(name, namespace, steps.GGUF, pod=pod),
        ):
            with subtests.test(name, kind=obj["kind"], step="create"):
                # Refused before anything was made is the best of answers.
                if at_once := steps.refused(kube, obj):
                    assert "spec.pod" in at_once
    for kind in ("FineTune", "InferenceService"):
        for found in kube.list(kind, namespace):
            name = found["metadata"]["name"]
            with subtests.test(name, kind=kind):
                assert_advice_fits(refused(kube, kind, namespace, PODS[name][1], name))
    steps.assert_well(operator)


def test_what_is_mended_goes_on(kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator) -> None:
    kube.create(resources.fine_tune("tuned", namespace, pod={"serviceAccountName": "nobody"}))
    refused(kube, "FineTune", namespace, "nobody")

    kube.create(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody", "namespace": namespace}}
    )

    steps.succeed_running(kube, kubelet, "FineTune", "tuned", kubelet.pod("FineTune", "tuned"))


@pytest.mark.parametrize("kind", ["FineTune", "InferenceService"])
def test_a_policy_that_is_down_is_told_and_comes_up_again(
    kube: Kube, namespace: str, webhook: str, kubelet: Kubelet, operator: Operator, kind: str
) -> None:
    fine_tune = resources.fine_tune("tuned", namespace)
    kube.create(fine_tune if kind == "FineTune" else resources.service("tuned", namespace, steps.GGUF))
    told = refused(kube, kind, namespace, "pods.policy.example.com")
    assert_advice_fits(told)

    kube.delete("ValidatingWebhookConfiguration", webhook)

    kubelet.pod(kind, "tuned")
    steps.assert_well(operator)
