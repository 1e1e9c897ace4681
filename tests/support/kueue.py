"""The real Kueue, in the network namespace of an instance of `hack/cluster`, for as long as a block runs.

While its webhooks are installed and it does not answer, the API server refuses *every* new Job of the cluster. So it
runs in an instance of its own, and takes its webhooks away when it stops. The API server calls it at `localhost`: a
Service of type ExternalName needs no kube-proxy.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.support import cluster as clusters
from tests.support.beside import inside, running
from tests.support.cluster import Cluster
from tests.support.kube import ApiError, Kube, Object
from tests.support.wait import wait_for

NAMESPACE = "kueue-system"
FLAVOR = "default"
_SERVICE = "kueue-webhook-service"
_PORT = 9443
_WEBHOOKS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
# What the tests use: Jobs, and Kueue's own kinds. Those of other kinds would need their definitions.
_KEPT = {
    f"{letter}{kind}.kb.io"
    for letter in "mv"
    for kind in ("job", "clusterqueue", "resourceflavor", "workload", "cohort")
}
_FOREIGN = ("Deployment", "ConfigMap", "APIService")
"""Not installed: Kueue runs beside the cluster, and nobody serves its visibility API."""


def installable(objects: list[Object]) -> list[Object]:
    """Kueue's manifests as they fit a Kueue that runs beside the API server."""
    kept = []
    for obj in objects:
        if obj["kind"] in _FOREIGN or (obj["kind"] == "Service" and obj["metadata"]["name"] != _SERVICE):
            continue
        if obj["kind"] == "Service":
            obj["spec"] = {"type": "ExternalName", "externalName": "localhost"}
        if obj["kind"] in _WEBHOOKS:
            obj["webhooks"] = [hook for hook in obj["webhooks"] if hook["name"] in _KEPT]
            for hook in obj["webhooks"]:
                hook["clientConfig"]["service"]["port"] = _PORT
        if conversion := obj.get("spec", {}).get("conversion", {}).get("webhook"):
            conversion["clientConfig"]["service"]["port"] = _PORT
        kept.append(obj)
    return kept


def configuration(certificates: Path) -> Object:
    """Kueue's configuration."""
    return {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "namespace": NAMESPACE,
        "health": {"healthProbeBindAddress": "127.0.0.1:8081"},
        "metrics": {"bindAddress": "127.0.0.1:8443"},
        "webhook": {"host": "127.0.0.1", "port": _PORT, "certDir": str(certificates)},
        "leaderElection": {"leaderElect": False},
        "clientConnection": {"qps": 200, "burst": 400},
        "internalCertManagement": {"enable": True},
        "integrations": {"frameworks": ["batch/job"]},
    }


@contextmanager
def admitting(cluster: Cluster, folder: Path) -> Iterator[None]:
    """Let Kueue admit Jobs until the block ends. When it stops, no Workload may be left: nobody would end it."""
    assert cluster.instance, "Kueue's webhooks concern every Job of a cluster: it runs in the tests' own only"
    kube = cluster.kube
    program = clusters.program("kueue")
    certificates = folder / "certificates"
    certificates.mkdir(parents=True, exist_ok=True)
    _install(cluster, program / "config", folder)
    config = folder / "config.yaml"
    config.write_text(json.dumps(configuration(certificates)))
    access = _kubeconfig(cluster, folder)
    argv: list[str | Path] = [
        *inside(cluster.instance), program / "kueue",
        "--config", config, "--kubeconfig", access, "--feature-gates", "VisibilityOnDemand=false",
    ]  # fmt: skip

    def ready() -> bool:
        _certify(kube, certificates)
        return _answers(kube)

    try:
        with running(argv, folder / "kueue.log", ready):
            kube.discovery.refresh()
            kube.apply(_object("ResourceFlavor", FLAVOR, spec={}))
            before = _workloads(kube)  # of a run that was cut off; its namespaces go in their own time
            yield
            wait_for(
                lambda: _workloads(kube) <= before,
                "Kueue to be done with all Workloads",
                timeout=120,
                describe=lambda: f"left: {sorted(_workloads(kube) - before)}",
            )
    finally:
        for kind in _WEBHOOKS:
            for hook in kube.list(kind):
                if hook["metadata"]["name"].startswith("kueue-"):
                    kube.delete(kind, hook["metadata"]["name"], missing_ok=True)


@contextmanager
def queue(kube: Kube, namespace: str, name: str = "lq", *, cpu: int) -> Iterator[str]:
    """A LocalQueue of the namespace, and a ClusterQueue of its own behind it, whose name is given."""
    group: Object = {
        "coveredResources": ["cpu"],
        "flavors": [{"name": FLAVOR, "resources": [{"name": "cpu", "nominalQuota": cpu}]}],
    }
    spec: Object = {
        "namespaceSelector": {},
        "resourceGroups": [group],
        "preemption": {"withinClusterQueue": "LowerPriority"},
    }
    kube.create(_object("ClusterQueue", namespace, spec=spec))
    local = _object("LocalQueue", name, spec={"clusterQueue": namespace})
    local["metadata"]["namespace"] = namespace
    kube.create(local)
    try:
        yield namespace
    finally:
        kube.delete("ClusterQueue", namespace, missing_ok=True)


def _workloads(kube: Kube) -> set[str]:
    return {
        f"{meta['namespace']}/{meta['name']}" for meta in (each["metadata"] for each in kube.list("Workload"))
    }


def _object(kind: str, name: str, **rest: Object) -> Object:
    return {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": kind, "metadata": {"name": name}, **rest}


def _install(cluster: Cluster, config: Path, folder: Path) -> None:
    text = cluster.run("kubectl", "kustomize", config / "default")
    manifests = folder / "kueue.yaml"
    manifests.write_text(yaml.safe_dump_all(installable(list(yaml.safe_load_all(text)))))
    cluster.run("kubectl", "apply", "--server-side", "--force-conflicts", "-f", manifests)


def _kubeconfig(cluster: Cluster, folder: Path) -> Path:
    """Kueue's own service account: its own rights are enough."""
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    account = "kueue-controller-manager"
    wait_for(
        lambda: cluster.kube.find("ServiceAccount", account, NAMESPACE), "Kueue's service account", timeout=60
    )
    told = cluster.run("kubectl", "-n", NAMESPACE, "create", "token", account, "--duration", "24h")
    config["users"] = [{"name": each["name"], "user": {"token": told.strip()}} for each in config["users"]]
    file = folder / "kubeconfig"
    file.write_text(json.dumps(config))
    return file


def _certify(kube: Kube, folder: Path) -> None:
    """Kueue keeps its certificates in a Secret and waits for them as files, which a kubelet would bring."""
    secret = kube.find("Secret", "kueue-webhook-server-cert", NAMESPACE) or {}
    for key, value in (secret.get("data") or {}).items():
        content = base64.b64decode(value)
        file = folder / key
        if not file.exists() or file.read_bytes() != content:
            draft = folder / f".{key}"
            draft.write_bytes(content)
            draft.replace(file)


def _answers(kube: Kube) -> bool:
    """Whether a Job is accepted: the webhooks have their certificates, and somebody answers."""
    pod: Object = {"restartPolicy": "Never", "containers": [{"name": "x", "image": "registry.invalid/x"}]}
    job: Object = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "probe", "namespace": NAMESPACE},
        "spec": {"template": {"spec": pod}},
    }
    try:
        kube.create(job, dry_run=True)
    except ApiError as error:
        if error.code != 500:  # failed calling webhook
            raise
        return False
    return True
