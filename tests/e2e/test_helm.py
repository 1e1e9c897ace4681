"""A chart is installed, upgraded, rolled back and removed by Helm."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support import pods
from tests.support.cluster import Cluster
from tests.support.kube import Kube
from tests.support.wait import wait_for, wait_log, wait_pods

CHART = Path(__file__).parent / "charts" / "probe"


def test_a_charts_life(cluster: Cluster, kube: Kube, namespace: str, base_image: str) -> None:
    def helm(*arguments: str) -> str:
        return cluster.run("helm", "--namespace", namespace, *arguments, seconds=180)

    def says(greeting: str) -> None:
        (pod,) = wait_pods(kube, namespace, f"{pods.APP}=probe", 1)
        wait_log(kube, pod["metadata"]["name"], namespace, greeting)

    def upgrade(greeting: str) -> None:
        values = ["--set-string", f"greeting={greeting}", "--set-string", f"image={base_image}"]
        helm("upgrade", "--install", "probe", str(CHART), *values, "--wait", "--timeout", "2m")

    helm("lint", "--strict", str(CHART))
    upgrade("first greeting")
    says("first greeting")

    upgrade("second greeting")
    says("second greeting")
    assert kube.get("ConfigMap", "probe", namespace)["data"] == {"greeting": "second greeting"}

    helm("rollback", "probe", "1", "--wait", "--timeout", "2m")
    says("first greeting")
    history = json.loads(helm("history", "probe", "--output", "json"))
    assert [(entry["revision"], entry["status"]) for entry in history] == [
        (1, "superseded"), (2, "superseded"), (3, "deployed"),
    ]  # fmt: skip

    helm("uninstall", "probe", "--wait", "--timeout", "2m")
    assert json.loads(helm("list", "--all", "--output", "json")) == []
    assert kube.find("ConfigMap", "probe", namespace) is None
    assert kube.find("Deployment", "probe", namespace) is None
    wait_for(lambda: not kube.list("Pod", namespace), "the chart's pods to be gone")


def test_a_value_of_the_wrong_type_is_refused(cluster: Cluster, namespace: str) -> None:
    done = cluster.try_run("helm", "--namespace", namespace, "template", str(CHART), "--set", "replicas=many")

    assert done.returncode != 0
    assert "replicas" in done.stderr
