"""A FineTune in a queue of the real Kueue: who suspends a Job, and what the FineTune says meanwhile.

Kueue runs in an instance of its own: where its webhooks are installed and it has stopped, no Job can be made.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.apiserver.operator import resources
from tests.apiserver.operator.kubelet import succeeded
from tests.apiserver.operator.process import Operator
from tests.support import kueue, kwok
from tests.support.cluster import ROOT, Cluster
from tests.support.explain import condition
from tests.support.kube import Kube, Object
from tests.support.locks import locked
from tests.support.tier import RUN_FOLDER, cluster_of
from tests.support.wait import wait_condition, wait_for, wait_gone, wait_object

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.own_cluster,
    # One Kueue an instance: with `--dist loadgroup`, one process has all of these tests.
    pytest.mark.xdist_group("kueue"),
]
QUEUE = "kueue.x-k8s.io/queue-name"
CPU = 2  # of the queue


@pytest.fixture(scope="session")
def cluster(
    pytestconfig: pytest.Config, run_id: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """An instance with Kueue and a node that kwok plays; another process of the run waits for its turn."""
    with locked("kueue"), cluster_of("test-kueue", 0, pytestconfig.stash[RUN_FOLDER], run_id) as cluster:
        crds = ROOT / "crds"
        cluster.run("kubectl", "apply", "--server-side", "--force-conflicts", "-f", crds)
        cluster.run("kubectl", "wait", "--for", "condition=Established", "-f", crds)
        folder = tmp_path_factory.mktemp("kueue")
        with (
            kwok.playing(cluster.kube, cluster.kubeconfig, folder, kwok.node("fake", pods=100)),
            kueue.admitting(cluster, folder),
        ):
            yield cluster


@pytest.fixture(scope="session")
def crds(cluster: Cluster) -> None:
    """In the place of the fixture of the same name: these are there."""


@pytest.fixture
def queue(kube: Kube, namespace: str) -> Iterator[str]:
    """The LocalQueue `lq` of two CPUs, and the name of the ClusterQueue behind it."""
    with kueue.queue(kube, namespace, cpu=CPU) as name:
        yield name


@pytest.fixture(autouse=True)
def claims(kube: Kube, namespace: str) -> Iterator[None]:
    """What a run's pod mounts: without it, no node takes the pod."""
    with kwok.claims(kube, namespace, "models", "artifacts"):
        yield


def run(name: str, namespace: str, cpu: str = "1500m", queue: str = "lq", **spec: Any) -> Object:
    """A FineTune that asks a queue for CPUs."""
    pod = {"resources": {"requests": {"cpu": cpu}}}
    return resources.fine_tune(name, namespace, queueName=queue, pod=pod, **spec)


def job_of(kube: Kube, namespace: str, name: str) -> Object | None:
    """The FineTune's Job."""
    jobs = kube.list("Job", namespace, labels=f"speechless.dev/name={name}")
    return jobs[-1] if jobs else None


def running_pod(kube: Kube, namespace: str, name: str) -> Object:
    """The FineTune's pod, once it runs."""

    def look() -> Object | None:
        pods = kube.list("Pod", namespace, labels=f"speechless.dev/name={name}")
        return next((pod for pod in pods if pod["status"].get("phase") == "Running"), None)

    found = wait_for(look, f"a running pod of {name}", timeout=60)
    assert found is not None
    return found


def finish(kube: Kube, namespace: str, name: str) -> Object:
    """Have the FineTune's running pod succeed."""
    job = job_of(kube, namespace, name)
    assert job is not None
    output = kube.get("ConfigMap", job["metadata"]["name"], namespace)["data"]["stage.json"]
    kwok.end(kube, running_pod(kube, namespace, name), succeeded(uri=output_of(output)).termination_message())
    return wait_condition(kube, "FineTune", name, namespace, "Succeeded", unless="Failed", timeout=60)


def output_of(stage: str) -> str:
    """Where a stage writes: what its pod says of an artifact counts there only."""
    return str(json.loads(stage)["output"])


def queued(kube: Kube, namespace: str, name: str, words: str) -> Object:
    """Wait until a FineTune says that it is queued, and why."""

    def told(obj: Object) -> bool:
        ready = condition(obj, "Ready")
        return bool(ready and ready["reason"] == "Queued" and words in ready["message"])

    return wait_object(kube, "FineTune", name, namespace, told, f"to be Queued: {words}", timeout=60)


@contextmanager
def suspensions(kube: Kube, namespace: str, name: str) -> Iterator[list[bool]]:
    """Every value that spec.suspend of a FineTune's Job had, in turn, as a watch tells it."""
    seen: list[bool] = []
    stop = threading.Event()

    def look() -> None:
        version = None
        labels = f"speechless.dev/name={name}"
        while not stop.is_set():
            # Each watch goes on where the last one ended: no change is missed between two.
            for event in kube.watch("Job", namespace, version=version, labels=labels, seconds=2):
                version = event["object"]["metadata"]["resourceVersion"]
                value = bool(event["object"]["spec"].get("suspend"))
                if event["type"] != "DELETED" and seen[-1:] != [value]:
                    seen.append(value)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def hold(kube: Kube, queue: str, policy: str) -> None:
    """Stop a ClusterQueue, or let it go on."""
    kube.patch("ClusterQueue", queue, {"spec": {"stopPolicy": policy}})


def test_a_run_waits_for_its_queue_and_kueue_alone_lets_it_go(
    kube: Kube, namespace: str, queue: str, operator: Operator
) -> None:
    hold(kube, queue, "Hold")
    with suspensions(kube, namespace, "tuned") as seen:
        kube.create(run("tuned", namespace))
        queued(kube, namespace, "tuned", "is inactive")
        job = job_of(kube, namespace, "tuned")
        assert job is not None
        assert job["metadata"]["labels"][QUEUE] == "lq"
        assert job["spec"]["suspend"] is True
        assert job["metadata"]["generation"] == 1, "made suspended, and touched by nobody"
        assert kube.list("Pod", namespace) == []

        hold(kube, queue, "None")
        running_pod(kube, namespace, "tuned")
        wait_condition(kube, "FineTune", "tuned", namespace, "Ready", "False", reason="Running")
        done = finish(kube, namespace, "tuned")

    assert seen == [True, False], "suspended once, and let go once"
    job = kube.find("Job", job["metadata"]["name"], namespace)
    if job is not None:  # an ended run's children may be gone
        assert job["metadata"]["generation"] == 2
    assert done["status"]["phase"] == "Succeeded"
    assert done["status"]["artifact"]["digest"]


def test_one_that_does_not_fit_says_what_kueue_says_and_goes_on_later(
    kube: Kube, namespace: str, queue: str, operator: Operator
) -> None:
    kube.create(run("first", namespace))
    running_pod(kube, namespace, "first")
    kube.create(run("second", namespace, cpu="1"))

    waits = queued(kube, namespace, "second", "insufficient unused quota for cpu in flavor default")
    assert waits["status"]["phase"] == "Suspended"
    assert condition(waits, "Stalled") is None, "it goes on by itself"

    finish(kube, namespace, "first")
    running_pod(kube, namespace, "second")
    wait_condition(kube, "FineTune", "second", namespace, "Ready", "False", reason="Running")
    finish(kube, namespace, "second")


def test_a_queue_that_does_not_exist_is_told(kube: Kube, namespace: str, operator: Operator) -> None:
    kube.create(run("tuned", namespace, queue="nosuch"))

    queued(kube, namespace, "tuned", "LocalQueue nosuch doesn't exist")
    assert kube.list("Pod", namespace) == []

    with kueue.queue(kube, namespace, "nosuch", cpu=CPU):
        running_pod(kube, namespace, "tuned")
        finish(kube, namespace, "tuned")


def test_a_run_that_is_preempted_says_so_and_goes_on_later(
    kube: Kube, namespace: str, queue: str, operator: Operator
) -> None:
    priority = {
        "apiVersion": "kueue.x-k8s.io/v1beta2",
        "kind": "WorkloadPriorityClass",
        "metadata": {"name": namespace},
        "value": 1000,
    }
    kube.create(priority)
    with suspensions(kube, namespace, "low") as seen:
        kube.create(run("low", namespace))
        before = running_pod(kube, namespace, "low")
        kube.create(urgent(namespace))

        queued(kube, namespace, "low", "reempt")
        wait_gone(kube, "Pod", before["metadata"]["name"], namespace)
        kube.delete("Job", "urgent", namespace)

        after = running_pod(kube, namespace, "low")
        assert after["metadata"]["uid"] != before["metadata"]["uid"]
        finish(kube, namespace, "low")
    kube.delete("WorkloadPriorityClass", namespace)

    assert seen == [True, False, True, False], (
        "Kueue let it go, took it back, and let it go again; nobody else"
    )


def urgent(namespace: str) -> Object:
    """A Job of somebody else, which comes before those of no priority."""
    labels = {QUEUE: "lq", "kueue.x-k8s.io/priority-class": namespace}
    container = {
        "name": "x",
        "image": "registry.invalid/x",
        "resources": {"requests": {"cpu": "1500m"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
    pod = {"restartPolicy": "Never", "containers": [container], "securityContext": security}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "urgent", "namespace": namespace, "labels": labels},
        "spec": {"suspend": True, "template": {"spec": pod}},
    }


def test_the_user_suspends_what_kueue_has_admitted(
    kube: Kube, namespace: str, queue: str, operator: Operator
) -> None:
    kube.create(run("tuned", namespace))
    pod = running_pod(kube, namespace, "tuned")

    kube.patch("FineTune", "tuned", {"spec": {"suspend": True}}, namespace)

    wait_gone(kube, "Pod", pod["metadata"]["name"], namespace)
    wait_condition(kube, "FineTune", "tuned", namespace, "Ready", "False", reason="Suspended")
    # Its place in the queue is free: another one runs.
    kube.create(run("other", namespace))
    running_pod(kube, namespace, "other")
    assert not kube.list("Pod", namespace, labels="speechless.dev/name=tuned")
    wait_condition(kube, "FineTune", "tuned", namespace, "Ready", "False", reason="Suspended")

    kube.patch("FineTune", "tuned", {"spec": {"suspend": False}}, namespace)

    queued(kube, namespace, "tuned", "insufficient unused quota")
    finish(kube, namespace, "other")
    finish(kube, namespace, "tuned")


def test_one_that_is_deleted_leaves_its_queue(
    kube: Kube, namespace: str, queue: str, operator: Operator
) -> None:
    kube.create(run("tuned", namespace))
    running_pod(kube, namespace, "tuned")
    kube.create(run("waiting", namespace))
    queued(kube, namespace, "waiting", "insufficient unused quota")

    kube.delete("FineTune", "tuned", namespace)

    wait_for(lambda: job_of(kube, namespace, "tuned") is None, "the Job to be gone", timeout=60)
    running_pod(kube, namespace, "waiting")
    kube.delete("FineTune", "waiting", namespace)
    wait_for(lambda: not kube.list("Workload", namespace), "no Workload to be left", timeout=60)
    wait_for(lambda: not kube.list("Pod", namespace), "no pod to be left", timeout=60)
