"""The volume provisioner: a folder of the instance for each claim (go/addons/provisioner.go)."""

from __future__ import annotations

from ..binaries import Binaries
from ..instance import Instance
from . import Component

NAME = "speechless.dev/local"


def component(instance: Instance, binaries: Binaries) -> Component:
    """Volumes outlive `down`; deleting the claim deletes the folder."""
    volumes = instance.dir / "volumes"
    return Component(
        name="provisioner",
        argv=[
            str(binaries.addons), "provisioner", "--kubeconfig", f"{instance.pki}/provisioner.kubeconfig",
            "--root", str(volumes), "--name", NAME,
        ],
        # It has no health port; a claim waits in the API server until it is there.
        ready=lambda: True,
        node=True,
    )  # fmt: skip
