"""OpenShift's admission plugin OwnerReferencesPermissionEnforcement is on.

kubeflow/trainer#1552, crate/crate-operator#300. Expected: the chart's rights suffice. The tests' API server
runs the plugin, for all tests; here is shown that it is on, and what it refuses.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.apiserver.operator import resources
from tests.apiserver.operator.cases import steps
from tests.apiserver.operator.cases.test_08_watched_namespace_gone import rights
from tests.apiserver.operator.kubelet import Kubelet
from tests.apiserver.operator.process import running
from tests.support.cluster import Cluster
from tests.support.faultproxy import FaultProxy
from tests.support.kube import Kube, Object
from tests.support.wait import wait_condition, wait_for

pytestmark = [pytest.mark.timeout(180), pytest.mark.own_cluster]


def without_finalizers(kube: Kube, namespace: str) -> tuple[str, list[Object]]:
    """Take the right to `*/finalizers` from the operator's Role; its name, and its rules as they were."""
    for role in kube.list("Role", namespace):
        rules = role["rules"]
        if any("finalizers" in resource for rule in rules for resource in rule["resources"]):
            left = [rule for rule in rules if not any("finalizers" in r for r in rule["resources"])]
            kube.patch("Role", role["metadata"]["name"], {"rules": left}, namespace)
            return role["metadata"]["name"], rules
    raise AssertionError("no Role of the chart gives a right to finalizers")


def test_the_charts_rights_suffice(
    kube: Kube,
    crds: None,
    cluster: Cluster,
    fault_proxy: FaultProxy,
    namespace: str,
    kubelet: Kubelet,
    tmp_path: Path,
) -> None:
    account = rights(cluster, kube, namespace, namespace)
    kubeconfig = fault_proxy.kubeconfig(tmp_path / "account", token=kube.token(account, namespace))
    role, rules = without_finalizers(kube, namespace)
    with running(kubeconfig, namespace, tmp_path) as operator:
        kube.create(resources.fine_tune("without", namespace))
        wait_for(
            lambda: "blockOwnerDeletion" in steps.said(kube, "FineTune", "without", namespace),
            "the plugin to refuse a child, and the resource to tell it",
        )
        kube.patch("Role", role, {"rules": rules}, namespace)
        steps.succeed(kube, kubelet, "FineTune", "without")  # mended by itself
        seen = len(fault_proxy.records())

        kube.create(resources.service("chat", namespace, steps.GGUF))
        steps.serve(kube, kubelet, "chat")
        kube.create(resources.evaluation("scored", namespace, resources.BASE))
        steps.succeed(kube, kubelet, "Evaluation", "scored", humaneval__pass=1.0)
        wait_condition(kube, "Evaluation", "scored", namespace, "Passed", "False")
        refused = [
            f"{r.request.method} {r.request.path}" for r in fault_proxy.records()[seen:] if r.status == 403
        ]
        assert refused == []
        steps.assert_well(operator)
