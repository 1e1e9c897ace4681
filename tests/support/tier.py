"""The cluster fixture of a tier: one instance for all processes of a run, swept of what killed runs left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import cluster as clusters
from tests.support.cluster import Cluster
from tests.support.locks import Users, locked
from tests.support.namespaces import sweep

# The folder in which the processes of a run tell each other what they started.
RUN_FOLDER = pytest.StashKey[Path]()


@contextmanager
def cluster_of(instance: str, nodes: int, run_folder: Path, run: str) -> Iterator[Cluster]:
    """Use the existing cluster, or the instance, which the first of a run's processes brings up."""
    if cluster := clusters.existing():
        with locked("existing"):
            sweep(cluster.kube, run, shared=True)
        yield cluster
        return
    users = Users(instance)
    try:
        with locked(instance):
            alone = users.alone()
            # Marked before it is tried: what a failed start left is stopped at the end, too.
            started = run_folder / f"{instance}.started"
            if not started.exists() or started.read_text() != "up":
                started.write_text("")
                clusters.up(instance, nodes, controller_qps=clusters.HURRIED)
                started.write_text("up")
            cluster = clusters.running(instance)
            if alone:
                sweep(cluster.kube, run, shared=False)
            users.join()
        yield cluster
    finally:
        users.leave()
