"""Pods that ask for a GPU on a node that only says it has one: what the scheduler does is real."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import pods
from tests.support.kube import Kube, Object
from tests.support.wait import wait_condition, wait_gone, wait_object, wait_pod

GPU = "nvidia.com/gpu"
IN_PATCH = GPU.replace("/", "~1")  # how a JSON pointer spells it

pytestmark = pytest.mark.own_cluster


def gpu_pod(name: str, namespace: str, image: str) -> Object:
    """A pod that asks for one GPU and stays."""
    main = pods.container(image, pods.python("import signal; signal.pause()"), limits={GPU: "1"})
    return pods.pod(name, namespace, pods.pod_spec(main))


@pytest.fixture
def one_gpu(kube: Kube) -> Iterator[None]:
    """One GPU on the cluster's node, gone again afterwards."""
    (node,) = (node["metadata"]["name"] for node in kube.list("Node"))

    def has(count: str | None) -> object:
        def ready(node: Object) -> bool:
            return bool(node["status"]["allocatable"].get(GPU) == count)

        return wait_object(kube, "Node", node, None, ready, f"to have {GPU}: {count}", timeout=30)

    fields = ("capacity", "allocatable")
    add = [{"op": "add", "path": f"/status/{field}/{IN_PATCH}", "value": "1"} for field in fields]
    remove = [{"op": "remove", "path": f"/status/{field}/{IN_PATCH}"} for field in fields]
    kube.patch("Node", node, add, subresource="status")
    try:
        has("1")
        yield
    finally:
        kube.patch("Node", node, remove, subresource="status")
        has(None)


@pytest.mark.usefixtures("one_gpu")
def test_one_pod_has_the_gpu_and_the_next_waits_for_it(kube: Kube, namespace: str, base_image: str) -> None:
    kube.create(gpu_pod("first", namespace, base_image))
    wait_pod(kube, "first", namespace, "Running")

    kube.create(gpu_pod("second", namespace, base_image))
    waiting = wait_condition(
        kube, "Pod", "second", namespace, "PodScheduled", "False", reason="Unschedulable"
    )
    (scheduled,) = (c for c in waiting["status"]["conditions"] if c["type"] == "PodScheduled")
    assert f"Insufficient {GPU}" in scheduled["message"]

    kube.delete("Pod", "first", namespace)
    wait_gone(kube, "Pod", "first", namespace)
    wait_pod(kube, "second", namespace, "Running")
