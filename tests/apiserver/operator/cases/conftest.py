"""More namespaces than one, and a cluster whose CRDs may go."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.access import Access
from tests.support.cluster import ROOT, Cluster
from tests.support.faultproxy import FaultProxy
from tests.support.kube import Kube
from tests.support.locks import locked
from tests.support.namespaces import create_namespace, delete_namespace
from tests.support.tier import RUN_FOLDER, cluster_of
from tests.support.wait import wait_condition, wait_gone

Another = Callable[[str], str]


@pytest.fixture
def another(request: pytest.FixtureRequest, kube: Kube, run_id: str) -> Iterator[Another]:
    """Makes further namespaces, which go with the test: `another("tenant")`."""
    made: list[str] = []

    def make(word: str) -> str:
        made.append(create_namespace(kube, f"{word} {request.node.name}", request.node.nodeid, run_id))
        return made[-1]

    yield make
    for name in made:
        delete_namespace(kube, name)


@pytest.fixture
def by_proxy(fault_proxy: FaultProxy, tmp_path: Path) -> Path:
    """A kubeconfig for the operator that leads through the fault proxy."""
    return fault_proxy.kubeconfig(tmp_path / "by-proxy")


@pytest.fixture
def throw_away(pytestconfig: pytest.Config, run_id: str) -> Iterator[Cluster]:
    """A cluster of which one test at a time may take the CRDs away; at first it has none."""
    with (
        cluster_of("test-crds", 0, pytestconfig.stash[RUN_FOLDER], run_id) as cluster,
        locked("test-crds-crds"),
    ):
        no_releases(cluster)
        no_crds(cluster.kube)
        yield cluster


def crd_files() -> list[dict[str, object]]:
    """The four definitions."""
    return [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]


def no_releases(cluster: Cluster) -> None:
    """Take away what a run that was killed has left installed."""
    for release in json.loads(cluster.run("helm", "list", "--all-namespaces", "--all", "--output", "json")):
        cluster.run("helm", "uninstall", release["name"], "--namespace", release["namespace"], "--wait")


def no_crds(kube: Kube) -> None:
    """Take the four definitions away, with all resources."""
    names = [str(crd["metadata"]["name"]) for crd in crd_files()]  # type: ignore[index]
    for name in names:
        kube.delete("CustomResourceDefinition", name, missing_ok=True)
    for name in names:
        # Kubernetes asks again, each time later, while "storage is (re)initializing".
        wait_gone(kube, "CustomResourceDefinition", name, timeout=300)


def install_crds(kube: Kube) -> None:
    """Install the four definitions."""
    for crd in crd_files():
        kube.apply(crd, force=True)
        wait_condition(kube, "CustomResourceDefinition", crd["metadata"]["name"], None, "Established")  # type: ignore[index]
    kube.discovery.refresh()


def direct(cluster: Cluster) -> Access:
    """A way into a cluster of the tests' own."""
    return Access.from_kubeconfig(cluster.kubeconfig, direct=True)
