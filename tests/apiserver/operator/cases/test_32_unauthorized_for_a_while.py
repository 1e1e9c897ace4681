"""The API server answers 401, or otherwise says no, for a while.

nolar/kopf#934, #1145. Expected: it heals by itself.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.apiserver.operator import resources
from tests.apiserver.operator.cases import steps
from tests.apiserver.operator.kubelet import Kubelet
from tests.apiserver.operator.process import running
from tests.support.faultproxy import FaultProxy
from tests.support.faults import Answer
from tests.support.kube import Kube
from tests.support.wait import wait_condition, wait_for

pytestmark = pytest.mark.timeout(240)


@pytest.mark.parametrize("code", [401, 403, 404, 429, 500, 503])
def test_reading_heals(
    kube: Kube, crds: None, fault_proxy: FaultProxy, by_proxy: Path, namespace: str, tmp_path: Path, code: int
) -> None:
    """No resync helps: it is every 10 minutes."""
    with running(by_proxy, namespace, tmp_path, "--resync-seconds=600") as operator:
        operator.wait_leading()
        steps.works(kube, "before", namespace, resources.fine_tune("before", namespace))
        refused = fault_proxy.fault(Answer(code, "for a while"), method="GET", path="/(finetunes|jobs|pods)$")
        fault_proxy.cut_watches()
        wait_for(lambda: refused.hits >= 4, "the operator to have been refused", timeout=60)
        assert operator.process.is_alive()
        refused.remove()

        kube.create(resources.fine_tune("after", namespace))
        wait_condition(kube, "FineTune", "after", namespace, "Ready", "False", timeout=90)
        steps.succeed(kube, Kubelet(kube, namespace), "FineTune", "after")
        steps.assert_well(operator)


@pytest.mark.parametrize("code", [401, 403, 404, 409, 422, 429, 500, 503, 504])
def test_writing_is_told_and_heals(
    kube: Kube, crds: None, fault_proxy: FaultProxy, by_proxy: Path, namespace: str, tmp_path: Path, code: int
) -> None:
    with running(by_proxy, namespace, tmp_path) as operator:
        operator.wait_leading()
        refused = fault_proxy.fault(
            Answer(code, "a webhook says so"), method="PATCH", path="/(jobs|configmaps)/"
        )
        kube.create(resources.fine_tune("tuned", namespace))
        wait_for(lambda: refused.hits >= 1, "the operator to have been refused")
        wait_for(
            lambda: "a webhook says so" in steps.said(kube, "FineTune", "tuned", namespace),
            "the resource to say what the API server said",
            describe=lambda: steps.said(kube, "FineTune", "tuned", namespace),
        )
        refused.remove()

        steps.succeed(kube, Kubelet(kube, namespace), "FineTune", "tuned")
        steps.assert_well(operator)
