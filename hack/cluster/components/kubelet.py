"""The kubelet of the one node."""

from __future__ import annotations

import json
from pathlib import Path

from ..binaries import Binaries
from ..client import healthy
from ..instance import DNS_SERVICE, DOMAIN, NODE, Instance
from . import Component


def upstream_resolvers() -> list[str]:
    """The name servers of this machine that are reachable from another network namespace: none on loopback."""
    for file in (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf")):
        if file.exists():
            words = [line.split() for line in file.read_text().splitlines()]
            servers = [w[1] for w in words if len(w) > 1 and w[0] == "nameserver"]
            reachable = [s for s in servers if not s.startswith("127.") and s != "::1" and ":" not in s]
            if reachable:
                return reachable
    return []


def component(instance: Instance, binaries: Binaries) -> Component:
    """Its volumes, logs and control groups lie under the instance's own folders and group."""
    pki, config, resolv = instance.pki, instance.dir / "kubelet.json", instance.dir / "resolv.conf"
    settings = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{pki}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "address": instance.address,
        "tlsCertFile": f"{pki}/kubelet-server.crt",
        "tlsPrivateKeyFile": f"{pki}/kubelet-server.key",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{instance.cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "containerRuntimeEndpoint": f"unix://{instance.containerd_socket}",
        "clusterDomain": DOMAIN,
        "clusterDNS": [DNS_SERVICE],
        "resolvConf": str(resolv),
        "podLogsDir": str(instance.log_dir / "pods"),
        # A developer's disk is often nearly full: evict late, and never delete images, which took long to build.
        "evictionHard": {"imagefs.available": "1%", "nodefs.available": "1%", "memory.available": "100Mi"},
        "imageGCHighThresholdPercent": 100,
        "maxPods": 110,
    }
    return Component(
        name="kubelet",
        argv=[
            str(binaries.kubernetes), "kubelet", "--config", str(config),
            "--kubeconfig", f"{pki}/kubelet.kubeconfig", "--hostname-override", NODE, "--node-ip", instance.address,
            "--root-dir", str(instance.dir / "kubelet"),
        ],
        env={"PATH": f"{binaries.runtime}/usr/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        files={
            config: json.dumps(settings, indent=1),
            resolv: "".join(f"nameserver {server}\n" for server in upstream_resolvers()),
        },
        ready=lambda: healthy(instance, "http://127.0.0.1:10248/healthz"),
        ports=(10248, 10250),
        node=True,
    )  # fmt: skip
