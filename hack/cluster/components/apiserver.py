"""kube-apiserver, with RBAC, the Node authorizer, NodeRestriction and an audit log."""

from __future__ import annotations

import json
from pathlib import Path

from .. import client
from ..binaries import Binaries
from ..errors import ClusterError
from ..instance import SERVICES, Instance
from . import Component

AUDIT = {
    # Who changed what, with the answer's code; reads and the heartbeat of leases would drown it.
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}]},
        {"level": "None", "resources": [{"group": "", "resources": ["events"]}]},
        {"level": "None", "verbs": ["get", "list", "watch"]},
        {"level": "Metadata"},
    ],
}

PLUGINS = "NodeRestriction,OwnerReferencesPermissionEnforcement"
"""Beside the default ones. The second is on in OpenShift: who lets a child block its owner must be allowed to."""


def component(instance: Instance, binaries: Binaries) -> Component:
    """It advertises the instance's address: loopback is refused, and pods could not reach it there."""
    pki, policy = instance.pki, instance.dir / "audit-policy.json"
    return Component(
        name="kube-apiserver",
        argv=[
            str(binaries.kubernetes), "kube-apiserver",
            "--etcd-servers", "http://127.0.0.1:2379",
            "--bind-address", "0.0.0.0", "--secure-port", "6443", "--advertise-address", instance.address,
            "--service-cluster-ip-range", SERVICES,
            "--authorization-mode", "Node,RBAC", "--enable-admission-plugins", PLUGINS,
            "--anonymous-auth=false",
            "--client-ca-file", f"{pki}/ca.crt",
            "--tls-cert-file", f"{pki}/apiserver.crt", "--tls-private-key-file", f"{pki}/apiserver.key",
            "--service-account-issuer", "https://kubernetes.default.svc",
            "--service-account-key-file", f"{pki}/sa.pub", "--service-account-signing-key-file", f"{pki}/sa.key",
            "--kubelet-client-certificate", f"{pki}/kubelet-client.crt",
            "--kubelet-client-key", f"{pki}/kubelet-client.key",
            "--kubelet-certificate-authority", f"{pki}/ca.crt",
            # else logs and exec look for the node's name in DNS
            "--kubelet-preferred-address-types", "InternalIP",
            "--requestheader-client-ca-file", f"{pki}/ca.crt", "--requestheader-allowed-names", "front-proxy-client",
            "--requestheader-username-headers", "X-Remote-User", "--requestheader-group-headers", "X-Remote-Group",
            "--requestheader-extra-headers-prefix", "X-Remote-Extra-",
            "--proxy-client-cert-file", f"{pki}/front-proxy.crt", "--proxy-client-key-file", f"{pki}/front-proxy.key",
            "--audit-policy-file", str(policy), "--audit-log-path", str(audit_log(instance)),
            "--audit-log-maxsize", "50", "--audit-log-maxbackup", "1",
            "--allow-privileged", "--profiling=false",
        ],
        files={policy: json.dumps(AUDIT, indent=1)},
        ready=lambda: ready(instance),
        ports=(6443,),
    )  # fmt: skip


def audit_log(instance: Instance) -> Path:
    """One JSON object a line (audit.k8s.io/v1 Event)."""
    return instance.log_dir / "audit.log"


def ready(instance: Instance) -> bool:
    """/readyz, asked as the administrator."""
    try:
        return client.request(instance, "GET", "/readyz")[0] == 200
    except ClusterError:
        return False
