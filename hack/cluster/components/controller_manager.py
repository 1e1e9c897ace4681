"""kube-controller-manager: Jobs, Deployments, garbage collection and the rest."""

from __future__ import annotations

from ..binaries import Binaries
from ..client import healthy
from ..instance import CONTROLLER_QPS, Instance
from . import Component


def component(instance: Instance, binaries: Binaries) -> Component:
    """Every controller acts with its own service account's rights, as in a real cluster."""
    pki = instance.pki
    kubeconfig = f"{pki}/kube-controller-manager.kubeconfig"
    return Component(
        name="kube-controller-manager",
        argv=[
            str(binaries.kubernetes), "kube-controller-manager",
            "--kubeconfig", kubeconfig,
            "--authentication-kubeconfig", kubeconfig, "--authorization-kubeconfig", kubeconfig,
            "--leader-elect=false", "--bind-address", "127.0.0.1",
            "--service-account-private-key-file", f"{pki}/sa.key", "--root-ca-file", f"{pki}/ca.crt",
            "--cluster-signing-cert-file", f"{pki}/ca.crt", "--cluster-signing-key-file", f"{pki}/ca.key",
            "--use-service-account-credentials", "--profiling=false",
            *_rate(instance.controller_qps),
        ],
        ready=lambda: healthy(instance, "https://127.0.0.1:10257/healthz"),
        ports=(10257,),
    )  # fmt: skip


def _rate(qps: int) -> list[str]:
    """What an instance asks for beyond the default: benchmarks wait for thousands of pods."""
    return [] if qps == CONTROLLER_QPS else [f"--kube-api-qps={qps}", f"--kube-api-burst={2 * qps}"]
