"""kube-proxy with nftables, inside the instance's network namespace."""

from __future__ import annotations

import json

from ..binaries import Binaries
from ..client import healthy
from ..instance import NODE, PODS, Instance
from . import Component


def component(instance: Instance, binaries: Binaries) -> Component:
    """Services by nftables rules that the host never sees."""
    config = instance.dir / "kube-proxy.json"
    settings = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": NODE,
        "clusterCIDR": PODS,
        "clientConnection": {"kubeconfig": f"{instance.pki}/kube-proxy.kubeconfig"},
        "bindAddress": "127.0.0.1",
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        # 0: leave the kernel's settings alone; the table's size is the whole machine's
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }
    return Component(
        name="kube-proxy",
        argv=[str(binaries.kubernetes), "kube-proxy", "--config", str(config)],
        files={config: json.dumps(settings, indent=1)},
        ready=lambda: healthy(instance, "http://127.0.0.1:10249/healthz"),
        ports=(10249, 10256),
        node=True,
    )
