"""The cluster of this tier."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.apiserver.probe import Probes, probe_crd
from tests.support.cluster import Cluster
from tests.support.crds import installed
from tests.support.tier import RUN_FOLDER, cluster_of


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config, run_id: str) -> Iterator[Cluster]:
    with cluster_of("test-api", 0, pytestconfig.stash[RUN_FOLDER], run_id) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def probes(cluster: Cluster, run_id: str, worker_id: str) -> Iterator[Probes]:
    """The probe kind, in a group of this process' own: a definition is seen by the whole cluster."""
    crd = probe_crd(f"{worker_id}.run-{run_id}.probe.speechless.dev", run_id)
    with installed(cluster.kube, crd):
        yield Probes(crd)
