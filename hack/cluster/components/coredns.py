"""CoreDNS as a process beside the node's agents: cluster names itself, all others by the machine's name servers."""

from __future__ import annotations

from ..binaries import Binaries
from ..client import healthy
from ..instance import DOMAIN, Instance
from . import Component
from .kubelet import upstream_resolvers


def component(instance: Instance, binaries: Binaries) -> Component:
    """Pods reach it by the Service kube-dns, whose EndpointSlice names the instance's address (manifests.py)."""
    config, upstream = instance.dir / "Corefile", upstream_resolvers()
    forward = f"    forward . {' '.join(upstream)}\n" if upstream else ""
    corefile = f""".:53 {{
    bind {instance.address}
    errors
    ready 127.0.0.1:8181
    cache 10
    kubernetes {DOMAIN} in-addr.arpa {{
        kubeconfig {instance.pki}/dns.kubeconfig
        ttl 5
    }}
{forward}}}
"""
    return Component(
        name="coredns",
        argv=[str(binaries.addons), "dns", "-conf", str(config)],
        files={config: corefile},
        ready=lambda: healthy(instance, "http://127.0.0.1:8181/ready"),
        ports=(53, 8181),
        node=True,
    )
