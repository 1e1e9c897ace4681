"""The demo, run once; the tests of this folder work beside what it left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.cluster import ROOT, Cluster
from tests.support.kube import Kube
from tests.support.tier import RUN_FOLDER, cluster_of
from tests.support.wait import wait_for, wait_gone

INSTANCE = "test-e2e"
NAMESPACE = "speechless-demo"
SYSTEM = "speechless-system"
CLAIM = "speechless-artifacts"
MANIFESTS = ROOT / "examples" / "demo"
API = "speechless.dev/v1alpha1"
HELDOUT = {
    "name": "humaneval",
    "type": "HumanEval",
    "data": {"uri": f"pvc://{CLAIM}/inputs/heldout.jsonl"},
    "maxTokens": 64,
    "limit": 5,
}
"""A suite of five problems that the demo's model did not see."""
DEMO_SECONDS = 20 * 60


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config, run_id: str) -> Iterator[Cluster]:
    """The one-node cluster that tests/e2e uses, too: its images are there."""
    with cluster_of(INSTANCE, 1, pytestconfig.stash[RUN_FOLDER], run_id) as cluster:
        yield cluster


@dataclass(frozen=True)
class Demo:
    """What `make demo` printed, and its exit status."""

    status: int
    screen: str


def run_demo(*argv: str) -> Demo:
    """The program behind `make demo` and `make demo-clean`."""
    done = subprocess.run(
        [sys.executable, "-m", "demo", *argv, "--instance", INSTANCE],
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "hack"), "COLUMNS": "140"},
        capture_output=True,
        text=True,
        timeout=DEMO_SECONDS + 600,
    )
    return Demo(done.returncode, done.stdout + done.stderr)


def run_current(cluster: Cluster, *argv: str) -> Demo:
    """The same as somebody with kubectl, helm and a kubeconfig: `make demo CLUSTER=current`."""
    done = subprocess.run(
        [sys.executable, "-m", "demo", *argv, "--cluster", "current"],
        check=False,
        env={**cluster.env(), "PYTHONPATH": str(ROOT / "hack"), "COLUMNS": "140"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    return Demo(done.returncode, done.stdout + done.stderr)


@pytest.fixture(scope="session")
def demo(cluster: Cluster) -> Iterator[Demo]:
    """The demo, from nothing: what an earlier run left is taken away first."""
    if not cluster.own:
        pytest.skip("the demo brings up a cluster of its own; this is an existing one")
    cleaned = run_demo("clean")
    assert cleaned.status == 0, cleaned.screen
    done = run_demo("run", "--minutes", str(DEMO_SECONDS / 60))
    assert done.status == 0, done.screen
    yield done
    assert run_demo("clean").status == 0


def manifests() -> list[dict[str, Any]]:
    """Every object of examples/demo, in the order of its files."""
    found = []
    for file in sorted(MANIFESTS.glob("*.yaml")):
        found += [obj for obj in yaml.safe_load_all(file.read_text()) if obj]
    return found


def example(kind: str, name: str) -> dict[str, Any]:
    """A copy of one object of examples/demo."""
    (found,) = [m for m in manifests() if m["kind"] == kind and m["metadata"]["name"] == name]
    return dict(json.loads(json.dumps(found)))


def conditions(obj: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Type to condition."""
    return {c["type"]: c for c in obj.get("status", {}).get("conditions", [])}


def holds(obj: dict[str, Any], kind: str) -> bool:
    """Whether a condition is True."""
    return conditions(obj).get(kind, {}).get("status") == "True"


def ended(kube: Kube, kind: str, name: str, seconds: float = 300) -> dict[str, Any]:
    """A job kind's resource once it succeeded, failed or stalled."""

    def look() -> dict[str, Any] | None:
        obj = kube.get(kind, name, NAMESPACE)
        return obj if any(holds(obj, c) for c in ("Succeeded", "Failed", "Stalled")) else None

    return dict(
        wait_for(
            look,
            f"{kind} {name} to end",
            timeout=seconds,
            describe=lambda: json.dumps(kube.get(kind, name, NAMESPACE).get("status"), indent=1),
        )
    )


@pytest.fixture
def make(demo: Demo, kube: Kube) -> Iterator[Callable[..., dict[str, Any]]]:
    """Create a resource like one of the demo's, with another name and changed fields; deleted afterwards."""
    made: list[tuple[str, str]] = []

    def create(kind: str, like: str, name: str, **fields: Any) -> dict[str, Any]:
        obj = example(kind, like)
        obj["metadata"]["name"] = name
        obj["spec"] |= fields
        made.append((kind, name))
        return kube.create(obj)

    yield create
    for kind, name in made:
        if kube.find(kind, name, NAMESPACE) is not None:
            kube.delete(kind, name, NAMESPACE)
            wait_gone(kube, kind, name, NAMESPACE)


@pytest.fixture
def in_volume(demo: Demo, kube: Kube, cluster: Cluster) -> Iterator[Callable[..., str]]:
    """Run a Python program in a pod that has the artifact claim at /artifacts; what it printed.

    In Debian's base image, unless another is named.
    """
    names: list[str] = []

    def run(name: str, program: str, image: str | None = None) -> str:
        job = example("Job", "inputs")
        job["metadata"]["name"] = name
        container = job["spec"]["template"]["spec"]["containers"][0]
        container["image"] = image or cluster.base_image()
        container["command"] = ["python3", "-c", program]
        names.append(name)
        kube.create(job)

        def done() -> bool:
            found = kube.get("Job", name, NAMESPACE).get("status", {})
            assert not found.get("failed"), f"the program of {name} failed"
            return bool(found.get("succeeded"))

        wait_for(done, f"Job {name} to succeed", timeout=60)
        (pod,) = kube.list("Pod", NAMESPACE, labels=f"job-name={name}")
        return kube.logs(pod["metadata"]["name"], NAMESPACE)

    yield run
    for name in names:
        kube.delete("Job", name, NAMESPACE)


def artifact_path(obj: dict[str, Any]) -> Path:
    """Where a resource's artifact is in a pod of `in_volume`."""
    uri = obj["status"]["artifact"]["uri"]
    prefix = f"pvc://{CLAIM}/"
    assert uri.startswith(prefix), uri
    return Path("/artifacts", uri.removeprefix(prefix))
