"""The finished Job is deleted by a TTL.

kubeflow/trainer#2991, #3737, #3779. Expected: finished stays finished; what was not seen is looked for
again.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.apiserver.operator import resources
from tests.apiserver.operator.cases import steps
from tests.apiserver.operator.kubelet import Kubelet
from tests.apiserver.operator.process import Operator, running
from tests.support.cluster import Cluster
from tests.support.kube import ApiError, Kube
from tests.support.wait import wait_condition, wait_for, wait_object

pytestmark = pytest.mark.timeout(180)


def by_policy(kube: Kube, namespace: str) -> None:
    """A policy of the cluster gives every Job a TTL; a Job may have gone already."""
    for job in kube.list("Job", namespace):
        try:
            patch = {"spec": {"ttlSecondsAfterFinished": 0}}
            kube.patch("Job", job["metadata"]["name"], patch, namespace)
        except ApiError as error:
            if error.code != 404:
                raise
    wait_for(lambda: kube.list("Job", namespace) == [], "every Job to be gone")


def test_finished_stays_finished(kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator) -> None:
    kube.create(resources.fine_tune("good", namespace))
    kube.create(resources.fine_tune("bad", namespace, backoffLimit=0))
    good = steps.succeed(kube, kubelet, "FineTune", "good")
    kubelet.finish(kubelet.pod("FineTune", "bad"), "", exit_code=1)
    bad = wait_condition(kube, "FineTune", "bad", namespace, "Failed")

    by_policy(kube, namespace)

    for obj, kind in ((good, "Succeeded"), (bad, "Failed")):
        name = obj["metadata"]["name"]
        kube.patch("FineTune", name, {"spec": {"ttlSecondsAfterFinished": 3600}}, namespace)
        seen = wait_object(
            kube, "FineTune", name, namespace, lambda o: o["status"]["observedGeneration"] == 2, "is observed"
        )
        assert steps.text(seen, kind) == steps.text(obj, kind)
        assert seen["status"].get("artifact") == obj["status"].get("artifact")
    steps.steady(lambda: kube.list("Job", namespace) == [], "nothing runs again")
    steps.assert_well(operator)


def test_an_end_that_nobody_saw_is_looked_for(
    kube: Kube, crds: None, cluster: Cluster, namespace: str, kubelet: Kubelet, tmp_path: Path
) -> None:
    kube.create(resources.fine_tune("unseen", namespace))
    with running(cluster.kubeconfig, namespace, tmp_path) as operator:
        pod = kubelet.pod("FineTune", "unseen")
        wait_condition(kube, "FineTune", "unseen", namespace, "Ready", "False")
        assert operator.stop() == 0
    mine = steps.output(kube, pod)
    kubelet.finish(pod, steps.published(kube, pod))
    steps.job_complete(kube, pod["metadata"]["labels"]["job-name"], namespace)
    by_policy(kube, namespace)

    with running(cluster.kubeconfig, namespace, tmp_path) as again:
        second = kubelet.pod("FineTune", "unseen")
        assert steps.output(kube, second) == mine, "its stage finds what was published"
        kubelet.finish(second, steps.published(kube, second).model_copy(update={"reused": True}))
        wait_condition(kube, "FineTune", "unseen", namespace, "Succeeded", unless="Failed")
        steps.assert_well(again)
