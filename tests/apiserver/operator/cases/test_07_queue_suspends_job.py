"""A queueing system holds the Job (Job.spec.suspend).

kubernetes-sigs/kueue#7649, #1726, #1527. Expected: whoever suspended the Job owns that: the operator waits,
and says for what.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.apiserver.operator import resources
from tests.apiserver.operator.cases import steps
from tests.apiserver.operator.kubelet import Kubelet
from tests.apiserver.operator.process import Operator
from tests.support.access import Access
from tests.support.cluster import Cluster
from tests.support.kube import ApiError, Kube, Object
from tests.support.wait import wait_condition, wait_for, wait_gone

pytestmark = pytest.mark.timeout(180)


@contextmanager
def queue(cluster: Cluster, namespace: str) -> Iterator[list[str]]:
    """As a queue's reconciler: a Job that it did not admit is suspended, each time; the names of those."""
    kube = Kube(Access.from_kubeconfig(cluster.kubeconfig, direct=cluster.own), manager="queue")
    stop, suspended = threading.Event(), list[str]()

    def work() -> None:
        while not stop.wait(0.05):
            for job in kube.list("Job", namespace):
                if not job["spec"]["suspend"] and not steps.holds(job, "Complete"):
                    suspend(kube, job, True)
                    suspended.append(job["metadata"]["name"])

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield suspended
    finally:
        stop.set()
        thread.join()


def suspend(kube: Kube, job: Object, value: bool) -> None:
    """As a queue says it; a Job that went meanwhile is none of its business."""
    try:
        kube.patch("Job", job["metadata"]["name"], {"spec": {"suspend": value}}, job["metadata"]["namespace"])
    except ApiError as error:
        if error.code != 404:
            raise


def test_the_operator_does_not_fight_and_says_who_holds_it(
    kube: Kube, cluster: Cluster, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    with queue(cluster, namespace) as suspended:
        kube.create(resources.fine_tune("tuned", namespace))
        wait_for(lambda: suspended, "the queue to have suspended the Job")
        held = wait_condition(kube, "FineTune", "tuned", namespace, "Ready", "False", reason="HeldByOthers")
        assert f"spec.suspend of Job {suspended[0]}" in steps.text(held)
        assert "spec.suspend is true" not in steps.text(held), "the user's field is false"
        steps.steady(
            lambda: "HeldByOthers" in steps.said(kube, "FineTune", "tuned", namespace), "it stays so"
        )
        (job,) = kube.list("Job", namespace)
        assert job["metadata"]["generation"] <= 3, "made, held, and left alone"
        assert len(suspended) == 1

    suspend(kube, job, False)

    steps.succeed(kube, kubelet, "FineTune", "tuned")
    steps.assert_well(operator)


def test_what_was_admitted_and_is_held_again_waits_again(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    """Preemption: the queue takes the admission back while the pod runs."""
    kube.create(resources.fine_tune("tuned", namespace))
    pod = kubelet.pod("FineTune", "tuned")
    kubelet.run(pod)
    wait_condition(kube, "FineTune", "tuned", namespace, "Reconciling", reason="Running")
    (job,) = kube.list("Job", namespace)

    suspend(kube, job, True)

    wait_condition(kube, "FineTune", "tuned", namespace, "Ready", "False", reason="HeldByOthers")
    wait_gone(kube, "Pod", pod["metadata"]["name"], namespace)
    suspend(kube, job, False)
    steps.succeed(kube, kubelet, "FineTune", "tuned")


def test_the_users_suspend_and_the_queues_are_two(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    """A run that the user suspends and resumes goes on, though others may hold Jobs, too."""
    kube.create(resources.fine_tune("tuned", namespace))
    first = kubelet.pod("FineTune", "tuned")
    kube.patch("FineTune", "tuned", {"spec": {"suspend": True}}, namespace)
    told = wait_condition(kube, "FineTune", "tuned", namespace, "Ready", "False", reason="Suspended")
    assert "spec.suspend is true" in steps.text(told)
    wait_gone(kube, "Pod", first["metadata"]["name"], namespace)

    kube.patch("FineTune", "tuned", {"spec": {"suspend": False}}, namespace)

    steps.succeed(kube, kubelet, "FineTune", "tuned")
