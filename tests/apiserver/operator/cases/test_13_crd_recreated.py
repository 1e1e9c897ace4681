"""A CRD is deleted and installed again under the running operator.

kubevirt/ssp-operator#417, nolar/kopf#1077. Expected: other kinds go on, and the kind works again when it is
back.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.apiserver.operator import resources
from tests.apiserver.operator.cases import steps
from tests.apiserver.operator.cases.conftest import install_crds
from tests.apiserver.operator.kubelet import Kubelet
from tests.apiserver.operator.process import running
from tests.support.cluster import Cluster
from tests.support.wait import wait_for, wait_gone

pytestmark = [pytest.mark.timeout(600), pytest.mark.own_cluster]


@pytest.mark.parametrize("crd", ["finetunes.speechless.dev", "inferenceservices.speechless.dev"])
def test_the_kind_comes_back(throw_away: Cluster, tmp_path: Path, crd: str) -> None:
    kube, namespace = throw_away.kube, "default"
    install_crds(kube)
    kubelet = Kubelet(kube, namespace)
    with running(throw_away.kubeconfig, namespace, tmp_path, "--resync-seconds=5") as operator:
        operator.wait_leading()
        if crd.startswith("finetunes"):
            kube.create(resources.fine_tune("before", namespace))
            kubelet.pod("FineTune", "before")
        else:
            kube.create(resources.service("before", namespace, steps.GGUF))
            kubelet.pod("InferenceService", "before")

        kube.delete("CustomResourceDefinition", crd)
        wait_gone(kube, "CustomResourceDefinition", crd)
        # Kubernetes' collector may meet a kind that is gone already. It tries again then, each time twice as late.
        wait_for(lambda: kube.list("Pod", namespace) == [], "what it owned to be gone", timeout=300)

        other = {"model": resources.BASE, "type": "Q8_0"}
        kube.create(resources.resource("Quantization", "other", namespace, other))
        steps.succeed(kube, kubelet, "Quantization", "other", form="GGUF")
        assert operator.process.is_alive()

        install_crds(kube)
        if crd.startswith("finetunes"):
            steps.works(kube, "after", namespace, resources.fine_tune("after", namespace))
        else:
            kube.create(resources.service("after", namespace, steps.GGUF))
            steps.serve(kube, kubelet, "after")
        steps.assert_well(operator)
        kube.delete("Quantization", "other", namespace)
