"""The cluster of this tier, and the image of its pods."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.cluster import Cluster, locked
from tests.support.tier import RUN_FOLDER, cluster_of


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config, run_id: str) -> Iterator[Cluster]:
    with cluster_of("test-e2e", 1, pytestconfig.stash[RUN_FOLDER], run_id) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def base_image(cluster: Cluster) -> str:
    """An image with Python that the node has; made by the first of this run's processes, if it is not there."""
    with locked("base-image"):
        return cluster.base_image()
