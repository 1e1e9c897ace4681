"""An instance of this tier's own, with its state in a temporary folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import ROOT


@dataclass(frozen=True)
class Program:
    """The cluster's command line, for one instance."""

    name: str
    state: Path

    def environment(self) -> dict[str, str]:
        """Where the program and its state are."""
        return {**os.environ, "PYTHONPATH": str(ROOT / "hack"), "SPEECHLESS_CLUSTER_STATE": str(self.state)}

    def argv(self, command: str, *options: str) -> list[str]:
        """The command for this instance."""
        return [sys.executable, "-m", "cluster", command, self.name, *options]

    def run(self, command: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end, whatever that is."""
        return subprocess.run(
            self.argv(command, *options),
            check=False,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=300,
        )

    def done(self, command: str, *options: str) -> str:
        """Run it; it must succeed. What it printed, progress included."""
        result = self.run(command, *options)
        assert result.returncode == 0, f"{command} ended with {result.returncode}:\n{result.stderr}"
        return result.stdout + result.stderr

    def refused(self, command: str, *options: str) -> str:
        """Run it; it must end with 1 and a message, not a traceback. The message."""
        result = self.run(command, *options)
        assert result.returncode == 1, (
            f"{command} ended with {result.returncode}:\n{result.stdout}{result.stderr}"
        )
        assert "Traceback" not in result.stderr
        return result.stderr

    def status(self) -> dict[str, Any]:
        """`status --json`."""
        return dict(json.loads(self.run("status", "--json").stdout))

    def pids(self) -> dict[str, int]:
        """Component to pid, of those that run."""
        return {part["name"]: part["pid"] for part in self.status().get("components", []) if part["running"]}

    def index(self) -> int:
        """The number in its interface names."""
        return int(json.loads((self.state / self.name / "instance.json").read_text())["index"])

    def kubectl(self, *words: str, stdin: str | None = None) -> str:
        """Run kubectl against it."""
        status = self.status()
        argv = [f"{status['bin']}/kubectl", "--kubeconfig", status["kubeconfig"], *words]
        return subprocess.run(
            argv, check=True, input=stdin, capture_output=True, text=True, timeout=120
        ).stdout


@pytest.fixture(scope="session", autouse=True)
def _root() -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("the cluster program needs Linux and root")


def _program(tmp_path_factory: pytest.TempPathFactory, name: str) -> Iterator[Program]:
    program = Program(name, tmp_path_factory.mktemp("state"))
    yield program
    if (program.state / name).exists():
        program.run("reset")


@pytest.fixture
def control_plane(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Program]:
    """An instance without a node, of this process alone; not started."""
    yield from _program(tmp_path_factory, f"test-own-api-{worker_id}")


@pytest.fixture
def one_node(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Program]:
    """An instance with a node, of this process alone; not started."""
    yield from _program(tmp_path_factory, f"test-own-node-{worker_id}")
