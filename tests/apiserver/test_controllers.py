"""The controllers behind the API server are real: Jobs, Deployments and the garbage collector act."""

from __future__ import annotations

from tests.apiserver.probe import Probes
from tests.support import pods
from tests.support.kube import Kube, Object
from tests.support.wait import wait_condition, wait_gone, wait_object, wait_pods

IMAGE = "registry.invalid/never:pulled"  # no pod of these tests may ever run, on any cluster
ELSEWHERE = {"speechless.dev/no-such-node": "true"}


def idle() -> Object:
    """A pod spec that no node takes."""
    return pods.pod_spec(pods.container(IMAGE, ["true"])) | {"nodeSelector": ELSEWHERE}


def owned_by(owner: Object, obj: Object) -> Object:
    """The object with an owner."""
    meta = owner["metadata"]
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
        "blockOwnerDeletion": False,
    }
    obj["metadata"]["ownerReferences"] = [reference]
    return obj


def test_a_job_makes_a_pod_that_waits_for_a_node(kube: Kube, namespace: str) -> None:
    kube.create(pods.job("work", namespace, idle()))

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
    kube.create(pods.job("work", namespace, idle(), suspend=True))
    wait_condition(kube, "Job", "work", namespace, "Suspended", reason="JobSuspended")
    assert kube.list("Pod", namespace, labels="job-name=work") == []

    kube.patch("Job", "work", {"spec": {"suspend": False}}, namespace)

    wait_pods(kube, namespace, "job-name=work", 1)
    wait_condition(kube, "Job", "work", namespace, "Suspended", "False")

    kube.patch("Job", "work", {"spec": {"suspend": True}}, namespace)

    wait_pods(kube, namespace, "job-name=work", 0)


def test_a_job_past_its_deadline_fails(kube: Kube, namespace: str) -> None:
    kube.create(pods.job("work", namespace, idle(), activeDeadlineSeconds=1))

    wait_condition(kube, "Job", "work", namespace, "Failed", reason="DeadlineExceeded", timeout=20)
    wait_pods(kube, namespace, "job-name=work", 0)


def test_a_deleted_owner_takes_its_children_along(kube: Kube, namespace: str, probes: Probes) -> None:
    owner = kube.create(probes.valid("parent", namespace))
    kube.create(owned_by(owner, pods.job("child", namespace, idle())))
    wait_pods(kube, namespace, "job-name=child", 1)

    kube.delete(probes.kind, "parent", namespace, propagation="Background")

    assert kube.find(probes.kind, "parent", namespace) is None, "in the background: the owner goes at once"
    # The garbage collector looks for new kinds every 30 s; until it knows the owner's, the child stays.
    wait_gone(kube, "Job", "child", namespace, timeout=90)
    wait_pods(kube, namespace, "job-name=child", 0)


def test_an_orphaned_child_stays(kube: Kube, namespace: str) -> None:
    owner = kube.create(pods.config_map("parent", namespace, {}))
    kube.create(owned_by(owner, pods.config_map("child", namespace, {})))

    kube.delete("ConfigMap", "parent", namespace, propagation="Orphan")
    wait_gone(kube, "ConfigMap", "parent", namespace)

    assert "ownerReferences" not in kube.get("ConfigMap", "child", namespace)["metadata"]


def test_a_child_of_a_dead_uid_is_collected(kube: Kube, namespace: str, probes: Probes) -> None:
    owner = kube.create(probes.valid("parent", namespace))
    kube.delete(probes.kind, "parent", namespace)
    wait_gone(kube, probes.kind, "parent", namespace)

    kube.create(owned_by(owner, pods.config_map("child", namespace, {})))  # accepted: nobody checks the uid

    wait_gone(kube, "ConfigMap", "child", namespace, timeout=90)


def test_a_deployment_makes_a_replica_set_and_pods(kube: Kube, namespace: str) -> None:
    kube.create(pods.deployment("web", namespace, idle(), replicas=2))

    waiting = wait_pods(kube, namespace, f"{pods.APP}=web", 2)

    (replica_set,) = kube.list("ReplicaSet", namespace)
    assert {pod["metadata"]["ownerReferences"][0]["uid"] for pod in waiting} == {
        replica_set["metadata"]["uid"]
    }
    assert replica_set["metadata"]["ownerReferences"][0]["name"] == "web"
    wait_condition(kube, "Deployment", "web", namespace, "Available", "False")
