"""A namespace is Terminating with our resources in it.

emqx/emqx-operator#1260, kubernetes-sigs/mcp-lifecycle-operator#300. Expected: no loop, no crash, the
namespace goes.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.apiserver.operator import resources
from tests.apiserver.operator.cases import steps
from tests.apiserver.operator.cases.conftest import Another
from tests.apiserver.operator.kubelet import Kubelet
from tests.apiserver.operator.process import running
from tests.support.faultproxy import FaultProxy
from tests.support.kube import Kube
from tests.support.wait import wait_for, wait_gone

pytestmark = pytest.mark.timeout(240)
NAMES = ("one", "two", "three")
HELD = "example.com/held"


def test_it_is_left_to_go(
    kube: Kube,
    crds: None,
    fault_proxy: FaultProxy,
    by_proxy: Path,
    namespace: str,
    another: Another,
    tmp_path: Path,
) -> None:
    going = another("going")
    flags = (f"--namespace={going}", "--resync-seconds=3")
    with running(by_proxy, namespace, tmp_path, *flags) as operator:
        # Suspended: of pods with a long grace the namespace controller waits out half of it, whatever they do.
        for name in NAMES:
            kube.create(resources.fine_tune(name, going, suspend=True) | {"metadata": _held(name, going)})
        kube.create(resources.service("chat", going, steps.GGUF))
        steps.serve(kube, Kubelet(kube, going), "chat")

        kube.delete("Namespace", going)
        wait_for(lambda: kube.list("Deployment", going) == [], "its Deployments to be gone", timeout=60)
        # What is about to go starts nothing, whatever it says.
        kube.patch("FineTune", "one", {"spec": {"suspend": False}}, going)
        before = _refused(fault_proxy, going)
        steps.works(kube, "elsewhere", namespace, resources.fine_tune("elsewhere", namespace))
        # What is refused is tried again more and more seldom: a few resources, a few tries each.
        steps.steady(lambda: len(_refused(fault_proxy, going)) < 40, "it does not go on and on", seconds=8)
        assert kube.list("Job", going) == []
        assert len(_refused(fault_proxy, going)) - len(before) < 20
        steps.assert_well(operator)
        for name in NAMES:
            kube.patch("FineTune", name, {"metadata": {"finalizers": None}}, going)
        wait_gone(kube, "Namespace", going, timeout=120)
        steps.assert_well(operator)


def _held(name: str, namespace: str) -> dict[str, object]:
    return {"name": name, "namespace": namespace, "finalizers": [HELD]}


def _refused(proxy: FaultProxy, namespace: str) -> list[str]:
    """Writes of the operator into the namespace that were refused because it goes."""
    return [
        f"{record.request.method} {record.request.path}"
        for record in proxy.records(path=f"/namespaces/{namespace}/")
        if record.request.method != "GET" and record.status in (403, 404, 409)
    ]
