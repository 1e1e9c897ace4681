"""The CRDs, an operator for the test's namespace, and somebody who plays the kubelet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.apiserver.operator.kubelet import Kubelet
from tests.apiserver.operator.process import Operator, running
from tests.support.cluster import ROOT, Cluster, locked
from tests.support.crds import served
from tests.support.kube import Kube
from tests.support.wait import wait_condition, wait_for


@pytest.fixture(scope="session")
def crds(cluster: Cluster) -> None:
    """Install the four definitions. They stay: other processes of this run use them."""
    kube = cluster.kube
    with locked("speechless-crds"):
        for path in sorted((ROOT / "crds").glob("*.yaml")):
            crd = yaml.safe_load(path.read_text())
            kube.apply(crd, force=True)
            wait_condition(kube, "CustomResourceDefinition", crd["metadata"]["name"], None, "Established")
            wait_for(lambda crd=crd: served(kube, crd), f"{path.name} to be served", timeout=30)
        kube.discovery.refresh()


@pytest.fixture
def kubelet(kube: Kube, namespace: str) -> Kubelet:
    return Kubelet(kube, namespace)


@pytest.fixture
def operator(crds: None, cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Operator]:
    """An operator for the test's namespace, at work."""
    with running(cluster.kubeconfig, namespace, tmp_path) as process:
        yield process
