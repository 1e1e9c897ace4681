"""examples/demo on several nodes: what mounts a ReadWriteOnce claim at the same time is on one of them.

The scheduler is the real one; kwok plays the nodes. A volume of that kind is attached to one node at a time: a pod that
waits on another node would keep the one that it waits for from starting.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.apiserver.operator.process import running
from tests.support import kwok
from tests.support.cluster import ROOT, Cluster
from tests.support.kube import Kube, Object
from tests.support.tier import RUN_FOLDER, cluster_of
from tests.support.wait import wait_for

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.own_cluster,
    # On the instance of the tests with Kueue: nodes would change what the other tests' pods say.
    pytest.mark.xdist_group("kueue"),
]
CLAIM = "speechless-artifacts"
NODES = ("one", "two", "three")
AT_ONCE = {"inputs", "tuned", "base"}
"""Who mounts the claim from the beginning: the Job that writes, and two that wait for what it writes."""
APART = {"key": "test/demo", "value": "yes", "effect": "NoSchedule"}


@pytest.fixture(scope="module")
def cluster(pytestconfig: pytest.Config, run_id: str) -> Iterator[Cluster]:
    with cluster_of("test-kueue", 0, pytestconfig.stash[RUN_FOLDER], run_id) as cluster:
        crds = ROOT / "crds"
        cluster.run("kubectl", "apply", "--server-side", "--force-conflicts", "-f", crds)
        cluster.run("kubectl", "wait", "--for", "condition=Established", "-f", crds)
        yield cluster


def nodes() -> list[Object]:
    """Nodes for this test's pods alone."""
    found = []
    for name in NODES:
        made = kwok.node(f"demo-{name}", pods=100)
        made["metadata"]["labels"]["test/demo"] = "yes"
        made["spec"] = {"taints": [APART]}
        found.append(made)
    return found


def manifests(namespace: str) -> list[Object]:
    """Those of examples/demo, for these nodes."""
    found = []
    here = {"nodeSelector": {"test/demo": "yes"}, "tolerations": [{**APART, "operator": "Equal"}]}
    for file in sorted((ROOT / "examples" / "demo").glob("*.yaml")):
        for obj in yaml.safe_load_all(file.read_text()):
            if obj["kind"] in ("Namespace", "PersistentVolumeClaim"):
                continue
            obj["metadata"]["namespace"] = namespace
            pod = obj["spec"]["template"]["spec"] if obj["kind"] == "Job" else obj["spec"]["pod"]
            pod.update(here)
            found.append(obj)
    return found


def test_pods_that_share_the_claim_share_a_node(
    kube: Kube, cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    def placed() -> dict[str, str]:
        """The node of each run."""
        found = {}
        for pod in kube.list("Pod", namespace):
            labels = pod["metadata"]["labels"]
            name = labels.get("speechless.dev/name") or labels["batch.kubernetes.io/job-name"]
            found[name] = pod["spec"].get("nodeName", "")
        return found

    with (
        kwok.playing(kube, cluster.kubeconfig, tmp_path, *nodes()),
        kwok.claims(kube, namespace, CLAIM),
        running(cluster.kubeconfig, namespace, tmp_path, f"--artifact-store=pvc://{CLAIM}/artifacts"),
    ):
        for obj in manifests(namespace):
            kube.create(obj)
        wait_for(
            lambda: set(placed()) == AT_ONCE and all(placed().values()),
            "three pods to be placed",
            timeout=90,
            describe=lambda: str(placed()),
        )
        assert len(set(placed().values())) == 1, placed()
        for obj in manifests(namespace):
            kube.delete(obj["kind"], obj["metadata"]["name"], namespace)
        wait_for(lambda: not kube.list("Pod", namespace), "the pods to be gone", timeout=60)
