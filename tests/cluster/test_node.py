"""With a node: pods really run."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from tests.cluster.conftest import Program
from tests.cluster.leftovers import listing, new_since, of_instance

pytestmark = pytest.mark.timeout(600)
PAUSE = "localhost/speechless/pause:1"


def _deployment(name: str) -> str:
    labels = {"app": name}
    return json.dumps(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "containers": [{"name": "pause", "image": PAUSE}],
                        "terminationGracePeriodSeconds": 1,
                    },
                },
            },
        }
    )


def test_each_component_killed_is_repaired_and_down_leaves_nothing(one_node: Program) -> None:
    before = listing()
    one_node.done("up", "--nodes", "1")
    index = one_node.index()
    one_node.kubectl("apply", "-f", "-", stdin=_deployment("kept"))
    one_node.kubectl("rollout", "status", "deployment/kept", "--timeout=60s")

    for name, pid in one_node.pids().items():
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while one_node.pids().get(name) == pid:
            assert time.monotonic() < deadline, f"{name} survived SIGKILL"
        assert name not in one_node.pids()
        assert one_node.status()["state"] == "partial"
        one_node.done("up")
        assert one_node.status()["state"] == "running", f"after kill -9 of {name}"
    one_node.kubectl("rollout", "status", "deployment/kept", "--timeout=60s")

    for _ in range(2):
        one_node.done("down")
        assert of_instance(one_node.name, index) == []
        assert new_since(before) == []
        one_node.done("up")
        one_node.kubectl("rollout", "status", "deployment/kept", "--timeout=90s")
    one_node.done("reset")
    assert of_instance(one_node.name, index) == []
    assert new_since(before) == []
    assert not (one_node.state / one_node.name).exists()
