"""What the operator asks of the API server, counted: how often it writes, how often it lists, that it is quiet.

Counts alone, no times: how long it takes is for `make bench-operator`.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.apiserver.operator import resources
from tests.apiserver.operator.kubelet import Kubelet
from tests.apiserver.operator.process import Operator, running
from tests.support.cluster import Cluster
from tests.support.explain import condition
from tests.support.kube import Kube, Object
from tests.support.wait import wait_for

pytestmark = pytest.mark.timeout(900)
NUMBER = 300
AT_ONCE = 4
NAMES = [f"run-{index:04d}" for index in range(NUMBER)]
REQUESTS = "speechless_operator_api_requests_total"
EVENTS = "speechless_operator_watch_events_total"
RECONCILES = "speechless_operator_reconciles_total"


@pytest.fixture
def operator(crds: None, cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Operator]:
    """Without a Lease: its renewals would be among what is counted."""
    with running(cluster.kubeconfig, namespace, tmp_path, "--no-leader-elect") as process:
        process.wait_leading()
        yield process


def total(operator: Operator, name: str, **labels: str) -> int:
    """The sum of a metric over all label sets that have these values."""
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    return sum(
        int(float(line.rsplit(" ", 1)[1]))
        for line in operator.get("/metrics")[1].splitlines()
        if line.startswith((f"{name} ", f"{name}{{")) and all(each in line for each in wanted)
    )


def said(kube: Kube, namespace: str, reason: str) -> int:
    """How many FineTunes are not ready for this reason."""
    found = kube.list("FineTune", namespace)
    return sum((condition(each, "Ready") or {}).get("reason") == reason for each in found)


def wait_said(kube: Kube, namespace: str, reason: str) -> None:
    """Wait until all FineTunes say so."""
    wait_for(
        lambda: said(kube, namespace, reason) == NUMBER,
        f"{NUMBER} FineTunes to be {reason}",
        timeout=400,
        interval=2,  # a list of hundreds is work for the API server
        describe=lambda: f"{said(kube, namespace, reason)} are",
    )


def wait_quiet(operator: Operator) -> None:
    """Wait until nothing is left to do, and nobody at it."""
    looks = [-1]

    def quiet() -> bool:
        looks.append(total(operator, RECONCILES))
        waiting = ("speechless_operator_queue_depth", "speechless_operator_events_waiting")
        return not any(operator.metric(name) for name in waiting) and looks[-1] == looks[-2]

    wait_for(quiet, "the operator to be quiet", timeout=60, interval=0.5)


def test_three_hundred_runs_are_started_with_four_writes_each_and_then_it_is_quiet(
    kube: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    reads = total(operator, REQUESTS, verb="GET")
    # A scheduler that does not exist: no pod is called unschedulable before somebody plays its node.
    create(kube, namespace, pod={"schedulerName": "nobody"})
    wait_said(kube, namespace, "Starting")
    for pod in every_pod(kube, namespace):
        kubelet.run(pod)
    wait_said(kube, namespace, "Running")
    wait_quiet(operator)

    applied = total(operator, REQUESTS, verb="PATCH", code="200") + total(
        operator, REQUESTS, verb="PATCH", code="201"
    )
    assert applied >= 3 * NUMBER, "a ConfigMap, a Job and a status, at the least"
    assert applied <= 4 * NUMBER, "beside them one more status, when the pod runs"
    # What is served is asked anew now and then; what is heard is never asked for.
    assert total(operator, REQUESTS, verb="GET") - reads <= NUMBER // 20
    # A reconcile for each event of a resource, its ConfigMap, its Job and its pod that comes alone; each of them is
    # written a handful of times by its controllers.
    assert total(operator, RECONCILES, kind="FineTune") <= 16 * NUMBER
    assert total(operator, RECONCILES, result="defect") == 0

    writes, heard = written(operator), total(operator, EVENTS, kind="FineTune")
    for each in NAMES[:20]:  # news of no consequence
        kube.patch("FineTune", each, {"metadata": {"annotations": {"somebody": "was here"}}}, namespace)
    wait_for(
        lambda: total(operator, EVENTS, kind="FineTune") >= heard + 20, "the news to be heard", timeout=30
    )
    wait_quiet(operator)
    assert written(operator) == writes, "nothing to say, nothing written"


def create(kube: Kube, namespace: str, **spec: Object) -> None:
    """Create all FineTunes."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda name: kube.create(resources.fine_tune(name, namespace, **spec)), NAMES))


def every_pod(kube: Kube, namespace: str) -> list[Object]:
    """All pods, once they are there: Kubernetes makes twenty a second."""
    wait_for(lambda: len(kube.list("Pod", namespace)) == NUMBER, "all pods", timeout=400, interval=2)
    return kube.list("Pod", namespace)


def written(operator: Operator) -> int:
    """Writes so far."""
    return sum(total(operator, REQUESTS, verb=verb) for verb in ("PATCH", "POST", "PUT", "DELETE"))
