"""Two releases in one namespace.

ContainerSolutions/externalsecret-operator#22, operator-framework/operator-sdk#1584. Expected: each works
for its namespaces; one that waits for a Lease says who holds it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.apiserver.operator import resources
from tests.apiserver.operator.cases import steps
from tests.apiserver.operator.cases.conftest import Another
from tests.apiserver.operator.process import running
from tests.apiserver.operator.test_chart import CHART, KUBE_VERSION
from tests.support.cluster import Cluster
from tests.support.kube import Kube
from tests.support.wait import wait_for

pytestmark = pytest.mark.timeout(180)


def lease_flags(cluster: Cluster, release: str, home: str, namespace: str) -> list[str]:
    """What the chart of a release tells its operator about Leases."""

    text = cluster.run(
        "helm", "template", release, CHART, "--namespace", home, "--kube-version", KUBE_VERSION,
        "--set", f"watchNamespaces={{{namespace}}}", "--set", "crds.install=false",
        "--set", "image.registry=registry.invalid", "--set", "image.tag=test",
    )  # fmt: skip
    (deployment,) = (o for o in yaml.safe_load_all(text) if o and o["kind"] == "Deployment")
    words = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    return [word for word in words if word.startswith("--lease-")]


def test_each_release_works_for_its_namespaces(
    kube: Kube, crds: None, cluster: Cluster, another: Another, tmp_path: Path
) -> None:
    home, a, b = another("home"), another("a"), another("b")
    flags = {n: lease_flags(cluster, f"speechless-{n}", home, where) for n, where in (("a", a), ("b", b))}
    assert flags["a"] != flags["b"]
    assert all(any(flag.startswith("--lease-name=") for flag in found) for found in flags.values())
    with (
        running(cluster.kubeconfig, a, tmp_path, *flags["a"]) as one,
        running(cluster.kubeconfig, b, tmp_path, *flags["b"]) as two,
    ):
        one.wait_leading()
        two.wait_leading()
        assert len(kube.list("Lease", home)) == 2
        steps.works(kube, "tuned", a, resources.fine_tune("tuned", a))
        steps.works(kube, "tuned", b, resources.fine_tune("tuned", b))
        steps.assert_well(one)
        steps.assert_well(two)


def test_one_that_waits_for_anothers_lease_says_who_holds_it(
    kube: Kube, crds: None, cluster: Cluster, another: Another, tmp_path: Path
) -> None:
    home, a, b = another("home"), another("a"), another("b")
    lease = (f"--lease-namespace={home}", "--lease-name=shared")
    with running(cluster.kubeconfig, a, tmp_path, *lease, "--identity=release-a-pod") as one:
        one.wait_leading()
        with running(cluster.kubeconfig, b, tmp_path, *lease, "--identity=release-b-pod") as two:
            log = two.log
            wait_for(lambda: "release-a-pod" in log.read_text(), "it to say who holds the Lease", timeout=40)
            (line,) = (each for each in log.read_text().splitlines() if "release-a-pod" in each)
            assert f"{home}/shared" in line
            assert "release-b-pod" in line, "and who waits"
            assert two.metric("speechless_operator_is_leader") == 0
        assert kube.get("Lease", "shared", home)["spec"]["holderIdentity"] == "release-a-pod"
