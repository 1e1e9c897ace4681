"""The cluster's certificate authority, a certificate a component, and their kubeconfigs."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

from .errors import ClusterError
from .instance import NODE, Instance
from .run import run

USERS = {
    # kubeconfig: subject of its client certificate. The groups and names are those that RBAC's built-in bindings know.
    "admin": "/O=system:masters/CN=admin",
    "kube-controller-manager": "/CN=system:kube-controller-manager",
    "kube-scheduler": "/CN=system:kube-scheduler",
    "kube-proxy": "/CN=system:kube-proxy",
    "kubelet": f"/O=system:nodes/CN=system:node:{NODE}",
    "dns": "/CN=speechless:dns",
    "provisioner": "/CN=speechless:provisioner",
}

NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
"""P-256: twelve RSA keys are seconds of a new cluster's start."""


def ensure(instance: Instance) -> None:
    """Make what is missing. The authority is made once: with a new one, every token and certificate would be void."""
    pki = instance.pki
    if not (pki / "ca.crt").exists() or not (pki / "sa.key").exists():
        if (instance.dir / "etcd").exists():
            raise ClusterError(
                f"{pki} lost its authority or its service account key, but the cluster's data is there",
                f"`cluster reset {instance.name}` starts it anew",
            )
        pki.mkdir(parents=True, exist_ok=True, mode=0o700)
        run(["openssl", "req", "-x509", *NEW_KEY, "-days", "3650", "-subj", "/CN=speechless-ca",
             "-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature",
             "-keyout", pki / "ca.key", "-out", pki / "ca.crt"])  # fmt: skip
        run(["openssl", "genrsa", "-out", pki / "sa.key", "2048"])
    if not (pki / "sa.pub").exists():
        run(["openssl", "rsa", "-in", pki / "sa.key", "-pubout", "-out", pki / "sa.pub"])
    services = (
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    )
    names = ",".join(
        [
            f"IP:{instance.address}",
            "IP:127.0.0.1",
            "IP:10.96.0.1",
            "DNS:localhost",
            *(f"DNS:{s}" for s in services),
        ]
    )
    _certificate(pki, "apiserver", "/CN=kube-apiserver", names)
    _certificate(
        pki, "kubelet-server", f"/O=system:nodes/CN=system:node:{NODE}", f"DNS:{NODE},IP:{instance.address}"
    )
    _certificate(pki, "kubelet-client", "/O=system:masters/CN=apiserver-kubelet-client")
    _certificate(pki, "front-proxy", "/CN=front-proxy-client")
    for user, subject in USERS.items():
        _certificate(pki, user, subject)
        _kubeconfig(instance, user)


def _certificate(pki: Path, name: str, subject: str, names: str = "") -> None:
    crt, key, wanted = pki / f"{name}.crt", pki / f"{name}.key", pki / f"{name}.for"
    what = f"{subject} {names}"
    if crt.exists() and key.exists() and wanted.exists() and wanted.read_text() == what:
        return
    request = run(["openssl", "req", *NEW_KEY, "-subj", subject, "-keyout", key])
    extensions = pki / f"{name}.ext"
    extensions.write_text(
        "keyUsage=critical,digitalSignature,keyEncipherment\nextendedKeyUsage=serverAuth,clientAuth\n"
        + (f"subjectAltName={names}\n" if names else "")
    )
    run(["openssl", "x509", "-req", "-CA", pki / "ca.crt", "-CAkey", pki / "ca.key", "-CAcreateserial", "-days", "3650",
         "-extfile", extensions, "-out", crt], stdin=request)  # fmt: skip
    extensions.unlink()
    wanted.write_text(what)


def _kubeconfig(instance: Instance, user: str) -> None:
    """Self-contained (the certificates are inside), so that the file alone can be copied or mounted."""

    def inline(file: str) -> str:
        return base64.b64encode((instance.pki / file).read_bytes()).decode()

    name = f"speechless-{instance.name}"
    content = json.dumps(  # JSON is YAML, too
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": name,
                    "cluster": {"server": instance.server, "certificate-authority-data": inline("ca.crt")},
                }
            ],
            "users": [
                {
                    "name": user,
                    "user": {
                        "client-certificate-data": inline(f"{user}.crt"),
                        "client-key-data": inline(f"{user}.key"),
                    },
                }
            ],
            "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
            "current-context": name,
        },
        indent=1,
    )
    file = instance.pki / f"{user}.kubeconfig"
    if not file.exists() or file.read_text() != content:
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            out.write(content)
