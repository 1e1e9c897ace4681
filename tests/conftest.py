"""Fixtures and hooks of all tiers; what they do is in `tests/support`, how to use them in `tests/README.md`."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import urllib3

from tests.support import cluster as clusters
from tests.support.access import Access
from tests.support.artifacts import dump_namespace, folder_name
from tests.support.cluster import ROOT, Cluster
from tests.support.kube import ApiError, Kube
from tests.support.namespaces import create_namespace, delete_namespace
from tests.support.tier import RUN_FOLDER

if TYPE_CHECKING:
    from tests.support.faultproxy import FaultProxy

NAMESPACES = pytest.StashKey[list[tuple[Kube, str]]]()
RUN_FOLDER_INPUT = "speechless_run_folder"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare --artifacts."""
    parser.addoption(
        "--artifacts",
        type=Path,
        default=ROOT / "artifacts",
        metavar="DIR",
        help="where a failed test leaves its namespace's objects, events and logs (default: artifacts/)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make or find the folder in which the processes of this run tell each other what they started."""
    config.addinivalue_line(
        "markers", "own_cluster: needs a cluster that the tests brought up; skipped on an existing one"
    )
    told = getattr(config, "workerinput", {}).get(RUN_FOLDER_INPUT)
    config.stash[RUN_FOLDER] = Path(
        told or tempfile.mkdtemp(prefix=f"speechless-run-{uuid.uuid4().hex[:8]}-")
    )


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist the run's folder."""
    node.workerinput[RUN_FOLDER_INPUT] = str(node.config.stash[RUN_FOLDER])


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stop what this run started, once its last process is done."""
    if hasattr(session.config, "workerinput"):
        return
    folder = session.config.stash[RUN_FOLDER]
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    try:
        for started in sorted(folder.glob("*.started")):
            told = clusters.down_if_unused(started.stem)
            if reporter:
                reporter.write_line(f"\n{told}")
    finally:
        if folder.exists():  # a run of hours may outlive a cleaner of temporary folders
            shutil.rmtree(folder)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Leave the namespaces of a failed test in the artifacts folder, before they are deleted."""
    report = yield
    if report.failed and report.when in {"setup", "call"}:
        tier = Path(os.path.relpath(item.path, ROOT / "tests")).parts[0].strip(".") or "elsewhere"
        folder = item.config.getoption("--artifacts") / tier / folder_name(item.path, item.nodeid)
        told = []
        for kube, namespace in item.stash.get(NAMESPACES, []):
            target = folder / namespace
            try:
                problems = dump_namespace(kube, namespace, target)
                told.append(
                    f"{namespace}: {target}" + (f" ({len(problems)} reads failed)" if problems else "")
                )
            except (ApiError, urllib3.exceptions.HTTPError, OSError) as error:
                # The test's own failure must stay the one that is reported.
                told.append(f"{namespace}: could not be saved: {error!r}")
        if told:
            report.sections.append(("artifacts", "\n".join(told)))
    return report


@pytest.fixture(scope="session")
def run_id(pytestconfig: pytest.Config) -> str:
    """What tells this run's namespaces from others'."""
    return pytestconfig.stash[RUN_FOLDER].name.split("-")[2]


@pytest.fixture
def kube(cluster: Cluster) -> Kube:
    """A client of the tier's cluster, as its administrator."""
    return cluster.kube


@pytest.fixture
def namespace(request: pytest.FixtureRequest, kube: Kube, run_id: str) -> Iterator[str]:
    """A fresh namespace of the Pod Security profile `restricted`."""
    node = request.node
    name = create_namespace(kube, node.name, node.nodeid, run_id)
    node.stash.setdefault(NAMESPACES, []).append((kube, name))
    yield name
    delete_namespace(kube, name)


@pytest.fixture
def fault_proxy(kube: Kube) -> Iterator[FaultProxy]:
    """A proxy before the tier's API server; without rules it changes nothing."""
    from tests.support.faultproxy import FaultProxy

    with FaultProxy(kube.access) as proxy:
        yield proxy


@pytest.fixture
def proxied(fault_proxy: FaultProxy, tmp_path: Path) -> Kube:
    """A client that reaches the API server through the fault proxy."""
    return Kube(Access.from_kubeconfig(fault_proxy.kubeconfig(tmp_path / "proxied"), direct=True))


@pytest.fixture(autouse=True)
def _own_cluster(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("own_cluster") and os.environ.get("KUBECONFIG"):
        pytest.skip(
            "does to a cluster what only one of the tests' own should suffer; KUBECONFIG names another"
        )
