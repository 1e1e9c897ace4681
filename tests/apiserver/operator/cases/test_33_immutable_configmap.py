"""An immutable ConfigMap of the same name and other content.

openshift/hypershift#8543, pulumi/pulumi-kubernetes#3181. Expected: a ConfigMap's name follows its content;
what changed in between keeps nothing from starting.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.apiserver.operator import resources
from tests.apiserver.operator.cases import steps
from tests.apiserver.operator.kubelet import Kubelet
from tests.apiserver.operator.process import running
from tests.support.cluster import Cluster
from tests.support.kube import Kube
from tests.support.wait import wait_condition, wait_for, wait_gone, wait_object

pytestmark = pytest.mark.timeout(240)
QUOTA = {"spec": {"hard": {"count/jobs.batch": "0"}}}
OTHER_STORE = "--artifact-store=pvc://artifacts/new"


def no_jobs(kube: Kube, namespace: str) -> None:
    """A quota that lets no Job in."""
    meta = {"name": "no-jobs", "namespace": namespace}
    kube.create({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta} | QUOTA)
    wait_object(
        kube, "ResourceQuota", "no-jobs", namespace, lambda o: o.get("status", {}).get("hard"), "counts"
    )


def test_another_store_while_a_quota_holds_the_job(
    kube: Kube, crds: None, cluster: Cluster, namespace: str, kubelet: Kubelet, tmp_path: Path
) -> None:
    no_jobs(kube, namespace)
    with running(cluster.kubeconfig, namespace, tmp_path) as operator:
        kube.create(resources.fine_tune("tuned", namespace))
        wait_condition(kube, "FineTune", "tuned", namespace, "Ready", "False", reason="QuotaExceeded")
        operator.stop()

    with running(cluster.kubeconfig, namespace, tmp_path, OTHER_STORE) as again:
        again.wait_leading()
        wait_condition(kube, "FineTune", "tuned", namespace, "Ready", "False", reason="QuotaExceeded")
        kube.delete("ResourceQuota", "no-jobs", namespace)
        wait_gone(kube, "ResourceQuota", "no-jobs", namespace)
        steps.succeed(kube, kubelet, "FineTune", "tuned")
        steps.assert_well(again)


def test_an_upstream_made_again_while_a_quota_holds_the_job(
    kube: Kube, crds: None, cluster: Cluster, namespace: str, kubelet: Kubelet, tmp_path: Path
) -> None:
    """The same spec, another digest behind it: another content."""
    with running(cluster.kubeconfig, namespace, tmp_path) as operator:
        kube.create(resources.fine_tune("tuned", namespace))
        steps.succeed(kube, kubelet, "FineTune", "tuned")
        no_jobs(kube, namespace)
        kube.create(resources.quantization("small", namespace, "tuned"))
        wait_condition(kube, "Quantization", "small", namespace, "Ready", "False", reason="QuotaExceeded")
        kube.delete("FineTune", "tuned", namespace)
        wait_gone(kube, "FineTune", "tuned", namespace)
        kube.delete("ResourceQuota", "no-jobs", namespace)
        wait_gone(kube, "ResourceQuota", "no-jobs", namespace)
        kube.create(resources.fine_tune("tuned", namespace, hyperparameters={"seed": 7}))
        steps.succeed(kube, kubelet, "FineTune", "tuned", "b")

        steps.succeed(kube, kubelet, "Quantization", "small", "c", form="GGUF")
        steps.assert_well(operator)


@pytest.mark.parametrize("child", ["Job", "ConfigMap"])
def test_a_child_deleted_after_a_flag_changed_comes_back(
    kube: Kube, crds: None, cluster: Cluster, namespace: str, kubelet: Kubelet, tmp_path: Path, child: str
) -> None:
    kube.create(resources.fine_tune("tuned", namespace))
    with running(cluster.kubeconfig, namespace, tmp_path) as operator:
        pod = kubelet.pod("FineTune", "tuned")
        operator.stop()
    with running(cluster.kubeconfig, namespace, tmp_path, OTHER_STORE) as again:
        again.wait_leading()
        (found,) = steps.of(kube, "FineTune", "tuned", namespace, child)
        kube.delete(child, found["metadata"]["name"], namespace)
        wait_for(
            lambda: any(
                other["metadata"]["uid"] != found["metadata"]["uid"]
                for other in steps.of(kube, "FineTune", "tuned", namespace, child)
            ),
            f"the {child} to come back",
        )
        if child == "ConfigMap":  # the pod that waits for it gets what it was told to mount
            steps.mounted(kube, pod)
        steps.succeed(kube, kubelet, "FineTune", "tuned")
        steps.assert_well(again)
