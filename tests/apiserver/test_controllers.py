"""The controllers behind the API server are real: Jobs and Deployments act."""

from __future__ import annotations

from tests.support import pods
from tests.support.kube import Kube
from tests.support.wait import wait_condition, wait_object, wait_pods


def test_a_job_makes_a_pod_that_waits_for_a_node(kube: Kube, namespace: str) -> None:
    kube.create(pods.job("work", namespace, pods.idle()))

    (pod,) = wait_pods(kube, namespace, "job-name=work", 1)

    assert pod["status"]["phase"] == "Pending"
    assert pod["metadata"]["ownerReferences"][0]["kind"] == "Job"
    wait_condition(
        kube, "Pod", pod["metadata"]["name"], namespace, "PodScheduled", "False", reason="Unschedulable"
    )
    wait_object(
        kube, "Job", "work", namespace, lambda job: job["status"].get("active") == 1, "has an active pod"
    )


def test_a_suspended_job_has_no_pod_until_it_is_resumed(kube: Kube, namespace: str) -> None:
    kube.create(pods.job("work", namespace, pods.idle(), suspend=True))
    wait_condition(kube, "Job", "work", namespace, "Suspended", reason="JobSuspended")
    assert kube.list("Pod", namespace, labels="job-name=work") == []

    kube.patch("Job", "work", {"spec": {"suspend": False}}, namespace)

    wait_pods(kube, namespace, "job-name=work", 1)
    wait_condition(kube, "Job", "work", namespace, "Suspended", "False")

    kube.patch("Job", "work", {"spec": {"suspend": True}}, namespace)

    wait_pods(kube, namespace, "job-name=work", 0)


def test_a_job_past_its_deadline_fails(kube: Kube, namespace: str) -> None:
    kube.create(pods.job("work", namespace, pods.idle(), activeDeadlineSeconds=1))

    wait_condition(kube, "Job", "work", namespace, "Failed", reason="DeadlineExceeded", timeout=20)
    wait_pods(kube, namespace, "job-name=work", 0)


def test_a_deployment_makes_a_replica_set_and_pods(kube: Kube, namespace: str) -> None:
    kube.create(pods.deployment("web", namespace, pods.idle(), replicas=2))

    waiting = wait_pods(kube, namespace, f"{pods.APP}=web", 2)

    (replica_set,) = kube.list("ReplicaSet", namespace)
    assert {pod["metadata"]["ownerReferences"][0]["uid"] for pod in waiting} == {
        replica_set["metadata"]["uid"]
    }
    assert replica_set["metadata"]["ownerReferences"][0]["name"] == "web"
    wait_condition(kube, "Deployment", "web", namespace, "Available", "False")
