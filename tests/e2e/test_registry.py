"""From images that are pushed to a registry to an operator that runs from it: `images-push`, `helm`, `kubectl`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import registry
from tests.support.cluster import ROOT, Cluster
from tests.support.kube import Kube, Object
from tests.support.wait import wait_for, wait_gone

pytestmark = [pytest.mark.timeout(900), pytest.mark.own_cluster]
PORT = 5005
REFUSING_PORT = 5006
VERSION = "pushed"
RELEASE = "from-registry"
CLAIM = "speechless-artifacts"


def push(cluster: Cluster, folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """`make images-push`, with the engine of the test's own cluster."""
    assert cluster.instance is not None
    command = [sys.executable, "hack/push.py", *argv, "--engine", "cluster", "--instance", cluster.instance]
    command += ["--plain-http", "--version", VERSION, "--log", str(folder / "logs")]
    environment = os.environ | {"PYTHONPATH": "hack"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def pushed(cluster: Cluster, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The registry with the operator's image, and the log of its requests."""
    assert cluster.instance is not None
    with registry.serving(cluster.instance, tmp_path, PORT) as log:
        done = push(cluster, tmp_path, f"{registry.HOST}:{PORT}", "operator")
        assert done.returncode == 0, done.stdout + done.stderr
        (install,) = re.findall(r"--set (image\.registry=\S+) --set (image\.tag=\S+)", done.stdout)
        assert install == (f"image.registry={registry.HOST}:{PORT}", f"image.tag={VERSION}")
        yield f"{registry.HOST}:{PORT}", log


def test_the_operator_runs_from_a_registry(
    cluster: Cluster, kube: Kube, namespace: str, pushed: tuple[str, Path]
) -> None:
    address, log = pushed
    before = len(log.read_text())

    def helm(*arguments: str) -> str:
        return cluster.run("helm", "--namespace", namespace, *arguments, seconds=240)

    # The node has the image by that name already: it is asked to pull it all the same.
    helm(
        "upgrade", "--install", RELEASE, str(ROOT / "charts" / "speechless"), "--wait", "--timeout", "3m",
        "--take-ownership", "--set", f"image.registry={address}", "--set", f"image.tag={VERSION}",
        "--set", "image.pullPolicy=Always", "--set", f"watchNamespaces={{{namespace}}}",
        "--set", "crds.keep=false", "--set", "aggregatedRoles=false", "--set", "apiPriority.enabled=false",
    )  # fmt: skip
    try:
        asked = log.read_text()[before:]
        assert f"/v2/speechless/operator/manifests/{VERSION}" in asked, "the node asked the registry"
        kube.discovery.refresh()
        kube.create(_claim(namespace))
        kube.create(_run(namespace))

        def pod() -> Object | None:
            found = kube.list("Pod", namespace, labels="speechless.dev/name=tuned")
            return found[0] if found else None

        made = wait_for(pod, "the pod of the FineTune", timeout=60)
        assert made is not None
        assert made["spec"]["containers"][0]["image"] == f"{address}/speechless/train:{VERSION}"

        def told() -> str:
            """What the FineTune says of the image that nobody pushed."""
            status = kube.get("FineTune", "tuned", namespace).get("status", {})
            return next((c["message"] for c in status.get("conditions", []) if c["type"] == "Ready"), "")

        wait_for(lambda: "train:pushed" in told(), "word of the missing image", timeout=60, describe=told)
        kube.delete("FineTune", "tuned", namespace)
        wait_gone(kube, "FineTune", "tuned", namespace)
    finally:
        helm("uninstall", RELEASE, "--wait", "--timeout", "2m")


def _claim(namespace: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": CLAIM, "namespace": namespace},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }


def _run(namespace: str) -> Object:
    return {
        "apiVersion": "speechless.dev/v1alpha1",
        "kind": "FineTune",
        "metadata": {"name": "tuned", "namespace": namespace},
        "spec": {
            "model": {"uri": f"pvc://{CLAIM}/base"},
            "dataset": {"uri": f"pvc://{CLAIM}/rows.jsonl"},
        },
    }


def test_a_registry_that_refuses_is_told_in_one_line(cluster: Cluster, tmp_path: Path) -> None:
    assert cluster.instance is not None
    with registry.serving(cluster.instance, tmp_path, REFUSING_PORT, login=registry.any_credentials()):
        done = push(cluster, tmp_path, f"{registry.HOST}:{REFUSING_PORT}", "operator")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("images-push: ")]
    assert f"{registry.HOST}:{REFUSING_PORT}/speechless/operator:{VERSION} was not pushed" in line
    assert "was not pushed: cluster: failed to authorize" in line
    assert "Traceback" not in done.stderr
