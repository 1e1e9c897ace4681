"""CRDs that Helm does not own.

fluxcd/flagger#1199, kedacore/charts#88, StarRocks/starrocks-kubernetes-operator#449. Expected: the ways
that are documented work, for CRDs applied beforehand and for those that an uninstalled release left.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.apiserver.operator.cases.conftest import crd_files, install_crds
from tests.apiserver.operator.test_chart import CHART
from tests.support.cluster import ROOT, Cluster

pytestmark = [pytest.mark.timeout(240), pytest.mark.own_cluster]
SETTINGS = ("--set", "replicas=0", "--set", "image.registry=registry.invalid", "--set", "image.tag=test")
WAYS = ("--take-ownership", "--set=crds.install=false")


@contextmanager
def installed(cluster: Cluster, namespace: str, *flags: str) -> Iterator[None]:
    """A release of the chart, which goes."""
    where = ("--namespace", namespace)
    gone = ("helm", "uninstall", "speechless", *where, "--ignore-not-found", "--wait")
    cluster.run(*gone)  # of a run that was killed
    try:
        cluster.run("helm", "install", "speechless", CHART, *where, "--create-namespace", *SETTINGS, *flags)
        yield
    finally:
        cluster.run(*gone)


def crds_there(cluster: Cluster) -> list[str]:
    """Those of the four that are there."""
    names = [str(crd["metadata"]["name"]) for crd in crd_files()]  # type: ignore[index]
    return [name for name in names if cluster.kube.find("CustomResourceDefinition", name)]


def refused(cluster: Cluster, namespace: str) -> str:
    """What Helm says to a plain install."""
    where = ("--namespace", namespace, "--create-namespace")
    done = cluster.try_run("helm", "install", "speechless", CHART, *where, *SETTINGS)
    assert done.returncode != 0
    return done.stderr


@pytest.mark.parametrize("way", WAYS)
def test_over_crds_that_kubectl_applied(throw_away: Cluster, way: str) -> None:
    throw_away.run("kubectl", "apply", "--server-side", "-f", ROOT / "crds")
    assert "cannot be imported into the current release" in refused(throw_away, "sp-applied")

    with installed(throw_away, "sp-applied", way):
        assert len(crds_there(throw_away)) == 4
    assert len(crds_there(throw_away)) == 4, "with them all resources would go"


@pytest.mark.parametrize("way", WAYS)
def test_again_elsewhere_after_an_uninstall(throw_away: Cluster, way: str) -> None:
    with installed(throw_away, "sp-first"):
        assert len(crds_there(throw_away)) == 4
    assert len(crds_there(throw_away)) == 4
    assert "invalid ownership metadata" in refused(throw_away, "sp-second")

    with installed(throw_away, "sp-second", way):
        assert len(crds_there(throw_away)) == 4


def test_two_releases_one_of_which_has_the_crds(throw_away: Cluster) -> None:
    def team(name: str) -> tuple[str, ...]:
        if throw_away.kube.find("Namespace", name) is None:
            throw_away.kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        return "--set", f"watchNamespaces={{{name}}}", "--set", "aggregatedRoles=false"

    second = (*team("team-b"), "--set", "crds.install=false")
    with installed(throw_away, "sp-first", *team("team-a")), installed(throw_away, "sp-second", *second):
        assert len(crds_there(throw_away)) == 4


def test_the_ways_out_are_documented() -> None:
    pages = "\n".join(
        page.read_text() for page in [*ROOT.glob("docs/*.md"), *ROOT.glob("crds/*.md"), *CHART.glob("*.md")]
    )
    assert "--take-ownership" in pages
    assert "crds.install=false" in pages
    assert "cannot be imported into the current release" in pages, "the error, as people search for it"


def test_chart_and_folder_have_the_same_definitions(throw_away: Cluster) -> None:
    """The CRDs as the chart has them are those of the folder: whichever way, the same is installed."""
    install_crds(throw_away.kube)
    with installed(throw_away, "sp-same", "--take-ownership"):
        for crd in crd_files():
            name = str(crd["metadata"]["name"])  # type: ignore[index]
            found = throw_away.kube.get("CustomResourceDefinition", name)
            wanted = crd["spec"]["versions"][0]["schema"]  # type: ignore[index]
            assert (
                found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"]
                == (wanted["openAPIV3Schema"]["description"])
            )
