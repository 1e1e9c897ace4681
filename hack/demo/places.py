"""Where the demo runs: a cluster of hack/cluster, which it starts and fills, or one that is there."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

from rich.console import Console

from demo import tools
from demo.tools import ROOT, DemoError, Object, Tools


@dataclass(frozen=True)
class Own:
    """An instance of hack/cluster. Its images are built into its node."""

    instance: str
    registry: str = "localhost"
    tag: str = "dev"
    guest: bool = False
    """Whether others have installed things there, too."""

    def begin(self, console: Console, objects: list[Object]) -> Tools:
        """Start it."""
        tools.cluster("up", self.instance, "--nodes", "1")
        return self.connect()

    def connect(self) -> Tools:
        """Its tools; DemoError if it does not run."""
        return tools.connect(self.instance)

    def images(self, console: Console) -> None:
        """Build what is not built; the engine's cache decides."""
        argv = [sys.executable, str(ROOT / "hack" / "images.py"), "--instance", self.instance]
        if subprocess.run(argv, check=False, cwd=ROOT).returncode:
            raise DemoError("an image could not be built; see above")


@dataclass(frozen=True)
class Current:
    """The cluster that kubectl speaks to now. Its nodes pull the images from a registry."""

    registry: str
    tag: str
    instance: None = None
    guest: bool = True

    def begin(self, console: Console, objects: list[Object]) -> Tools:
        """Look whether the demo's objects can live there, before any is made."""
        kube = self.connect()
        tools.needs_storage(kube, objects)
        console.print(
            f"context {kube.name}: the demo installs the chart in namespace {tools.SYSTEM} and works in "
            f"{tools.NAMESPACE}",
            highlight=False,
            markup=False,
        )
        return kube

    def connect(self) -> Tools:
        """Its tools; DemoError if it cannot be reached or is too old."""
        return tools.current()

    def images(self, console: Console) -> None:
        """They are where `make images-push` put them; a node that cannot pull says so in the steps below."""
        console.print(
            f"{self.registry}/speechless/...:{self.tag}, pulled by the nodes", highlight=False, markup=False
        )
