"""A request that the API server rounds or writes otherwise.

SeldonIO/seldon-core#5435. Expected: it is taken for what it is: no write follows from it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.apiserver.operator import resources
from tests.apiserver.operator.cases import steps
from tests.apiserver.operator.kubelet import Kubelet
from tests.apiserver.operator.process import running
from tests.support.faultproxy import FaultProxy
from tests.support.kube import Kube
from tests.support.wait import wait_for

pytestmark = pytest.mark.timeout(180)
REQUESTS = {
    "exact": {"cpu": "2m"},
    "rounded": {"cpu": "1.5m"},
    "rounded-memory": {"memory": "1500m"},
    "number": {"cpu": 1, "memory": 1073741824},
    "half": {"cpu": "0.1", "memory": "0.5Gi"},
    "exponent": {"memory": "1e9"},
    "as-others-write": {"memory": "1048576Ki", "cpu": "1000m"},
}
FOREIGN = 5


def test_nothing_is_written_for_it(
    kube: Kube,
    crds: None,
    fault_proxy: FaultProxy,
    by_proxy: Path,
    namespace: str,
    kubelet: Kubelet,
    tmp_path: Path,
) -> None:
    with running(by_proxy, namespace, tmp_path, "--resync-seconds=3") as operator:
        for name, amounts in REQUESTS.items():
            pod = {"resources": {"requests": amounts}}
            kube.create(resources.service(name, namespace, steps.GGUF, pod=pod))
            steps.serve(kube, kubelet, name)
        deployments = {
            name: steps.of(kube, "InferenceService", name, namespace, "Deployment")[0]["metadata"]["name"]
            for name in REQUESTS
        }

        def patches() -> dict[str, int]:
            return {
                name: len(fault_proxy.records(method="PATCH", path=f"/deployments/{found}$"))
                for name, found in deployments.items()
            }

        before = patches()
        synced = operator.metric("speechless_operator_last_resync_timestamp_seconds")
        wait_for(
            lambda: operator.metric("speechless_operator_last_resync_timestamp_seconds") > synced + 4,
            "resyncs",
        )
        assert patches() == before, "while nothing happens"
        for number in range(FOREIGN):
            for found in deployments.values():
                note = {"metadata": {"annotations": {"note": str(number)}}}
                kube.patch("Deployment", found, note, namespace)
        steps.works(kube, "tuned", namespace, resources.fine_tune("tuned", namespace))
        assert patches() == before, "while others write what is not ours to mind"
        steps.assert_well(operator)
