"""Running the cluster's tools."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "speechless-demo"
SYSTEM = "speechless-system"
Object = dict[str, Any]
OLDEST = (1, 31)
"""Kubernetes: as `kubeVersion` of the chart."""
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


class DemoError(Exception):
    """A step failed; what is printed says which and what to do."""


@dataclass(frozen=True)
class Tools:
    """kubectl and helm of one cluster."""

    name: str
    """What messages call the cluster."""
    bin: Path | None = None
    """Where they are. None: on the PATH."""
    kubeconfig: Path | None = None
    """None: kubectl's own, by KUBECONFIG or ~/.kube/config."""

    def env(self) -> dict[str, str]:
        """PATH and KUBECONFIG for them. A cluster that was there before keeps its proxy."""
        if self.bin is None:
            return dict(os.environ)
        path = f"{self.bin}:{os.environ.get('PATH', os.defpath)}"
        return {
            **os.environ,
            "PATH": path,
            "KUBECONFIG": str(self.kubeconfig),
            "NO_PROXY": "*",
            "no_proxy": "*",
        }

    def run(self, *argv: str, stdin: str | None = None, seconds: float = 120) -> str:
        """What a command printed; DemoError with its words if it failed."""
        try:
            done = subprocess.run(
                argv,
                check=False,
                input=stdin,
                env=self.env(),
                capture_output=True,
                text=True,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            raise DemoError(f"`{' '.join(argv)}` did not end within {seconds:.0f} s") from None
        if done.returncode:
            raise DemoError(f"`{' '.join(argv)}` failed:\n{(done.stderr or done.stdout).strip()[-3000:]}")
        return done.stdout

    def get(self, *what: str) -> dict[str, Any]:
        """`kubectl get` as JSON, in the demo's namespace."""
        return dict(json.loads(self.run("kubectl", "-n", NAMESPACE, "get", *what, "-o", "json")))


def cluster(*argv: str, quiet: bool = False) -> str:
    """Run the cluster program; its progress goes to our stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "cluster", *argv],
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "hack")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if quiet else None,
        text=True,
    )
    if done.returncode:
        raise DemoError(f"`cluster {' '.join(argv)}` failed{': ' + done.stderr if quiet else '; see above'}")
    return done.stdout


def connect(instance: str) -> Tools:
    """The tools of a running instance."""
    status = json.loads(cluster("status", instance, "--json", quiet=True))
    if status["state"] != "running":
        raise DemoError(f"the cluster {instance!r} is {status['state']}; `make demo` starts it")
    return Tools(repr(instance), Path(status["bin"]), Path(status["kubeconfig"]))


def current() -> Tools:
    """The tools of the cluster that kubectl speaks to now; DemoError if the demo cannot run there."""
    for program in ("kubectl", "helm"):
        if shutil.which(program) is None:
            raise DemoError(f"{program} is not on the PATH")
    tools = Tools("")
    context = tools.run("kubectl", "config", "current-context").strip()
    found = json.loads(tools.run("kubectl", "version", "--output", "json", "--request-timeout", "15s"))
    server = found["serverVersion"]
    if (int(server["major"]), int(server["minor"].rstrip("+"))) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise DemoError(f"the cluster of {context!r} is {server['gitVersion']}; {oldest} or newer is needed")
    return Tools(repr(context))


def needs_storage(tools: Tools, objects: list[Object]) -> None:
    """DemoError if a claim would wait for ever: one that names no class gets the default one."""
    classes = json.loads(tools.run("kubectl", "get", "storageclasses", "--output", "json"))["items"]
    if waiting := without_class(objects, classes):
        names = ", ".join(item["metadata"]["name"] for item in classes) or "none at all"
        raise DemoError(
            f"the cluster has no default StorageClass (it has: {names}), and the claim {waiting[0]} names none: "
            "mark one as the default, or set storageClassName in a copy of the manifests (--manifests)"
        )


def without_class(objects: list[Object], classes: list[Object]) -> list[str]:
    """The claims that get no class."""
    for item in classes:
        if item["metadata"].get("annotations", {}).get(DEFAULT_CLASS) == "true":
            return []
    claims = [each for each in objects if each["kind"] == "PersistentVolumeClaim"]
    return [each["metadata"]["name"] for each in claims if each["spec"].get("storageClassName") is None]
