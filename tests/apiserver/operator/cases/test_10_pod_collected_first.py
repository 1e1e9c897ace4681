"""The pod is collected before the operator has seen its result.

kubeflow/trainer#1186, argoproj/argo-workflows#8409. Expected: finished work is not lost: the run goes once
more, and its stage finds the artifact whole.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.apiserver.operator import resources
from tests.apiserver.operator.cases import steps
from tests.apiserver.operator.kubelet import Kubelet
from tests.apiserver.operator.process import running
from tests.support.cluster import Cluster
from tests.support.kube import Kube, Object
from tests.support.wait import wait_condition, wait_for, wait_gone

pytestmark = pytest.mark.timeout(240)


def found_whole(kube: Kube, pod: Object) -> str:
    """What a stage says that found its artifact published already."""
    result = steps.published(kube, pod).model_copy(update={"reused": True})
    return result.termination_message()


def collect(kube: Kube, kubelet: Kubelet, pod: Object, result: str) -> None:
    """The pod ends, its Job is closed, and the pod is collected, as PodGC or a node's end does it."""
    kubelet.finish(pod, result)
    steps.job_complete(kube, pod["metadata"]["labels"]["job-name"], kubelet.namespace)
    steps.end_at_once(kube, pod)
    wait_gone(kube, "Pod", pod["metadata"]["name"], kubelet.namespace)


@pytest.mark.parametrize("what", ["the pod", "the Job too", "the pod's word"])
def test_what_was_not_seen_is_looked_for_once_more(
    kube: Kube, crds: None, cluster: Cluster, namespace: str, kubelet: Kubelet, tmp_path: Path, what: str
) -> None:
    kube.create(resources.fine_tune("tuned", namespace))
    with running(cluster.kubeconfig, namespace, tmp_path) as operator:
        pod = kubelet.pod("FineTune", "tuned")
        kubelet.run(pod)
        wait_condition(kube, "FineTune", "tuned", namespace, "Reconciling", reason="Running")
        assert operator.stop() == 0
    job = pod["metadata"]["labels"]["job-name"]
    if what == "the pod's word":
        kubelet.finish(pod, "")
        steps.job_complete(kube, job, namespace)
    else:
        collect(kube, kubelet, pod, steps.published(kube, pod).termination_message())
    if what == "the Job too":
        kube.delete("Job", job, namespace)
        wait_gone(kube, "Job", job, namespace)

    with running(cluster.kubeconfig, namespace, tmp_path) as again:
        second = kubelet.pod("FineTune", "tuned")
        assert second["metadata"]["uid"] != pod["metadata"]["uid"]
        kubelet.finish(second, found_whole(kube, second))
        ended = wait_condition(kube, "FineTune", "tuned", namespace, "Succeeded", unless="Failed")
        assert "found" in steps.text(ended, "Succeeded")
        assert ended["status"]["artifact"]["digest"].startswith("sha256:a")
        steps.assert_well(again)


def test_what_nobody_can_ever_see_is_a_failure_and_no_endless_row(
    kube: Kube, crds: None, cluster: Cluster, namespace: str, kubelet: Kubelet, tmp_path: Path
) -> None:
    kube.create(resources.fine_tune("tuned", namespace))
    with running(cluster.kubeconfig, namespace, tmp_path) as operator:
        for _ in range(2):
            pod = kubelet.pod("FineTune", "tuned")
            kubelet.finish(pod, "no result at all")
            wait_gone_or_closed(kube, pod)
        ended = wait_condition(kube, "FineTune", "tuned", namespace, "Failed", unless="Succeeded", timeout=90)
        assert ended["status"]["failure"]["reason"] == "ResultMissing"
        steps.assert_well(operator)


def wait_gone_or_closed(kube: Kube, pod: Object) -> None:
    """Until a Job is closed, or gone because the operator makes another."""
    name, namespace = pod["metadata"]["labels"]["job-name"], pod["metadata"]["namespace"]

    def closed() -> bool:
        job = kube.find("Job", name, namespace)
        return (
            job is None
            or job["metadata"]["uid"] != pod["metadata"]["ownerReferences"][0]["uid"]
            or steps.holds(job, "Complete")
        )

    wait_for(closed, f"Job {name} to be closed")
