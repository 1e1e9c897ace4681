"""Where it is measured: a cluster made anew, without nodes but those that kwok plays."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.support import cluster as clusters
from tests.support import kwok
from tests.support.cluster import ROOT, Cluster

INSTANCE = "bench-operator"
NAMESPACE = "bench"
PODS_A_NODE = 4000


@dataclass(frozen=True)
class Stand:
    """A cluster to measure on."""

    cluster: Cluster
    folder: Path

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.cluster.kubeconfig

    @property
    def address(self) -> str:
        """The instance's address: what listens in its network namespace is reached there."""
        return str(urlsplit(self.cluster.kube.access.server).hostname)

    def hurry(self) -> None:
        """Let Kubernetes' controllers send more than by default, from now on."""
        clusters.up(INSTANCE, 0, controller_qps=clusters.HURRIED)


@contextmanager
def stand(nodes: int = 2) -> Iterator[Stand]:
    """Make the cluster with our definitions, a namespace and nodes; take it away at the end."""
    _forget()
    try:
        clusters.up(INSTANCE, 0)
        cluster = clusters.running(INSTANCE)
        crds = ROOT / "crds"
        cluster.run("kubectl", "apply", "--server-side", "-f", crds)
        cluster.run("kubectl", "wait", "--for", "condition=Established", "-f", crds)
        cluster.run("kubectl", "create", "namespace", NAMESPACE)
        with tempfile.TemporaryDirectory(prefix="speechless-bench-") as folder:
            made = [kwok.node(f"fake-{number}", PODS_A_NODE) for number in range(nodes)]
            with (
                kwok.claims(cluster.kube, NAMESPACE, "models", "artifacts"),
                kwok.playing(cluster.kube, cluster.kubeconfig, Path(folder), *made),
            ):
                yield Stand(cluster, Path(folder))
    finally:
        _forget()


def _forget() -> None:
    if json.loads(clusters.cluster_command("status", INSTANCE, "--json"))["state"] != "absent":
        clusters.cluster_command("reset", INSTANCE)
