"""kube-scheduler."""

from __future__ import annotations

from ..binaries import Binaries
from ..client import healthy
from ..instance import Instance
from . import Component


def component(instance: Instance, binaries: Binaries) -> Component:
    """Upstream's defaults: tests see the scheduler's own messages."""
    kubeconfig = f"{instance.pki}/kube-scheduler.kubeconfig"
    return Component(
        name="kube-scheduler",
        argv=[
            str(binaries.kubernetes), "kube-scheduler",
            "--kubeconfig", kubeconfig,
            "--authentication-kubeconfig", kubeconfig, "--authorization-kubeconfig", kubeconfig,
            "--leader-elect=false", "--bind-address", "127.0.0.1", "--profiling=false",
        ],
        ready=lambda: healthy(instance, "https://127.0.0.1:10259/healthz"),
        ports=(10259,),
    )  # fmt: skip
