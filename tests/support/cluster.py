"""The cluster that tests run against: an existing one (`KUBECONFIG`) or an instance of `hack/cluster`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from tests.support.access import Access
from tests.support.kube import Kube
from tests.support.locks import Users, locked

ROOT = Path(__file__).resolve().parents[2]

# Cold, `up` builds Kubernetes; warm it takes seconds.
UP_SECONDS = 45 * 60
DOWN_SECONDS = 5 * 60

KEEP = "SPEECHLESS_KEEP_CLUSTER"
BASE_IMAGE = "SPEECHLESS_TEST_BASE_IMAGE"
IMAGE_BUILD = "SPEECHLESS_TEST_IMAGE_BUILD"
IMAGE_PREFIX = "SPEECHLESS_TEST_IMAGE_PREFIX"


class ClusterError(RuntimeError):
    """The cluster could not be brought up, looked at, or stopped."""


@dataclass(frozen=True)
class Cluster:
    """A running cluster and how to use it."""

    kubeconfig: Path
    instance: str | None = None  # None: an existing cluster
    tools: Path | None = None  # a folder with kubectl and helm; None: those on PATH
    audit: Path | None = None

    @property
    def own(self) -> bool:
        """Whether the tests brought it up, and may do to it what nobody does to a shared cluster."""
        return self.instance is not None

    @cached_property
    def kube(self) -> Kube:
        """A client as the kubeconfig's user."""
        return Kube(Access.from_kubeconfig(self.kubeconfig, direct=self.own))

    def env(self) -> dict[str, str]:
        """The environment for kubectl and helm."""
        env = os.environ | {"KUBECONFIG": str(self.kubeconfig)}
        if self.tools:
            env["PATH"] = f"{self.tools}{os.pathsep}{env.get('PATH', os.defpath)}"
        if self.own:  # reached over a link of this machine, never through its HTTP proxy
            env["NO_PROXY"] = env["no_proxy"] = "*"
        return env

    def run(self, *command: str | Path, seconds: float = 120) -> str:
        """Run kubectl or helm against this cluster and return what it printed.

        Raises:
            ClusterError: It failed; the message has its output.
        """
        return _run([str(part) for part in command], seconds, env=self.env())

    def try_run(self, *command: str | Path, seconds: float = 120) -> Done:
        """Run kubectl or helm against this cluster, whatever comes of it."""
        return _try([str(part) for part in command], seconds, env=self.env())

    def base_image(self) -> str:
        """An image with python3 that the cluster's nodes have or can pull."""
        if self.instance is None:
            return os.environ.get(BASE_IMAGE, "python:3.11-slim-bookworm")
        _cluster("image", "base", self.instance, seconds=UP_SECONDS)
        return "localhost/speechless/base:bookworm"

    def can_build(self) -> bool:
        """Whether images can be built so that this cluster can run them."""
        return self.own or IMAGE_BUILD in os.environ

    def build_image(self, name: str, file: Path, context: Path, build_args: Mapping[str, str]) -> str:
        """Build an image where the cluster's nodes find it, and return its tag.

        On an existing cluster the program named by SPEECHLESS_TEST_IMAGE_BUILD does it, with the arguments
        `--tag T --file F --build-arg K=V ... CONTEXT`; the tag then begins with SPEECHLESS_TEST_IMAGE_PREFIX.
        """
        prefix = "localhost/speechless" if self.own else os.environ.get(IMAGE_PREFIX, "localhost/speechless")
        tag = f"{prefix}/{name}:test"
        arguments = ["--tag", tag, "--file", str(file)]
        for key, value in build_args.items():
            arguments += ["--build-arg", f"{key}={value}"]
        if self.instance is None:
            _run([os.environ[IMAGE_BUILD], *arguments, str(context)], UP_SECONDS)
        else:
            _cluster("image", "build", self.instance, *arguments, str(context), seconds=UP_SECONDS)
        return tag


@dataclass(frozen=True)
class Done:
    """A program that has ended."""

    returncode: int
    stdout: str
    stderr: str


def _try(command: list[str], seconds: float, env: Mapping[str, str] | None = None) -> Done:
    # The output goes through files: a pipe would stay open in a process that the program left running.
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=env,
                timeout=seconds,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ClusterError(f"{' '.join(command)}: {error}\n{_tail(_read(stderr))}") from error
        return Done(done.returncode, _read(stdout), _read(stderr))


def _run(command: list[str], seconds: float, env: Mapping[str, str] | None = None) -> str:
    done = _try(command, seconds, env)
    if done.returncode != 0:
        told = f"{_tail(done.stdout)}\n{_tail(done.stderr)}"
        raise ClusterError(f"{' '.join(command)}: exit {done.returncode}\n{told}")
    return done.stdout


def _read(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def _tail(text: str, lines: int = 40) -> str:
    return "\n".join(text.splitlines()[-lines:])


def _cluster(*arguments: str, seconds: float) -> str:
    path = os.pathsep.join([str(ROOT / "hack"), *filter(None, [os.environ.get("PYTHONPATH")])])
    return _run([sys.executable, "-m", "cluster", *arguments], seconds, env=os.environ | {"PYTHONPATH": path})


def cluster_command(*arguments: str) -> str:
    """Run a command of `hack/cluster` and return what it printed."""
    return _cluster(*arguments, seconds=UP_SECONDS)


def program(name: str) -> Path:
    """The folder of a program that runs beside a cluster (`kwok`, `kueue`): built at the first call on a machine."""
    with locked("prepare"):
        told = _cluster("prepare", "--with", name, seconds=UP_SECONDS)
    return Path(told.strip().partition("=")[2])


def existing() -> Cluster | None:
    """The cluster that KUBECONFIG names."""
    path = os.environ.get("KUBECONFIG")
    if not path:
        return None
    if not Path(path).is_file():
        raise ClusterError(f"KUBECONFIG is {path!r}, which is not a file; the tests take exactly one")
    return Cluster(Path(path).absolute())


HURRIED = 400
"""Requests a second of Kubernetes' controllers where pods are only waited for. At their default of 20 a thousand pods
take a minute, and a test that makes 300 Jobs leaves those beside it without a pod for half of one."""


def up(instance: str, nodes: int, *, controller_qps: int | None = None) -> None:
    """Bring an instance up, or find it running; `controller_qps`: requests a second of Kubernetes' controllers."""
    more = [] if controller_qps is None else ["--controller-qps", str(controller_qps)]
    _cluster("up", instance, "--nodes", str(nodes), *more, seconds=UP_SECONDS)


def running(instance: str) -> Cluster:
    """A running instance."""
    status: dict[str, Any] = json.loads(_cluster("status", instance, "--json", seconds=60))
    if status["state"] != "running":
        raise ClusterError(f"cluster instance {instance} is {status['state']}: {status['components']}")
    return Cluster(
        kubeconfig=Path(status["kubeconfig"]),
        instance=instance,
        tools=Path(status["bin"]),
        audit=Path(status["audit"]) if status.get("audit") else None,
    )


def down_if_unused(instance: str) -> str:
    """Stop an instance that no test process uses; say in a line what was done."""
    if os.environ.get(KEEP):
        return f"cluster instance {instance} left running ({KEEP})"
    with locked(instance):
        users = Users(instance)
        try:
            if not users.alone():
                return f"cluster instance {instance} left running: another test run uses it"
            _cluster("down", instance, seconds=DOWN_SECONDS)
        finally:
            users.leave()
    return f"cluster instance {instance} stopped"
