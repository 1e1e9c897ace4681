"""Manifests of tests: pods that pass the Pod Security profile `restricted`, and what goes around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import dedent
from typing import Any

from tests.support.kube import Object

UID = 10001
APP = "app.kubernetes.io/name"


def python(script: str, *arguments: str) -> list[str]:
    """The command that runs a Python script, unbuffered: what it prints is in the log at once."""
    return ["python3", "-u", "-c", dedent(script), *arguments]


def container(
    image: str,
    command: Sequence[str],
    *,
    name: str = "main",
    env: Mapping[str, str] | None = None,
    mounts: Mapping[str, str] | None = None,
    limits: Mapping[str, str] | None = None,
    ports: Sequence[int] = (),
    readiness: Mapping[str, Any] | None = None,
) -> Object:
    """A container with no rights: `mounts` maps volume names to paths; /tmp is writable, the root is not."""
    made: Object = {
        "name": name,
        "image": image,
        # A node's own image exists in no registry; Always, the default of some tags, would look there.
        "imagePullPolicy": "IfNotPresent",
        "command": list(command),
        "env": [{"name": key, "value": value} for key, value in (env or {}).items()],
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},
            *({"name": volume, "mountPath": path} for volume, path in (mounts or {}).items()),
        ],
        "resources": {
            "requests": {"cpu": "10m", "memory": "16Mi"},
            "limits": {"memory": "256Mi"} | dict(limits or {}),
        },
        "ports": [{"containerPort": port} for port in ports],
        "terminationMessagePolicy": "File",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    if readiness:
        made["readinessProbe"] = dict(readiness)
    return made


def pod_spec(
    *containers: Object,
    uid: int = UID,
    fs_group: int | None = None,
    volumes: Mapping[str, Mapping[str, Any]] | None = None,
    restart: str = "Never",
    grace: int = 1,
) -> Object:
    """A pod spec of the `restricted` profile; `volumes` maps names to their sources.

    The grace period is short: a test that does not look at it should not wait for a program that ignores SIGTERM.
    """
    security: Object = {"runAsNonRoot": True, "runAsUser": uid, "seccompProfile": {"type": "RuntimeDefault"}}
    if fs_group is not None:
        security["fsGroup"] = fs_group
    return {
        "containers": list(containers),
        "restartPolicy": restart,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace,
        "securityContext": security,
        "volumes": [
            {"name": "tmp", "emptyDir": {}},
            *({"name": name, **source} for name, source in (volumes or {}).items()),
        ],
    }


def idle() -> Object:
    """A pod spec that no node of any cluster takes: for what controllers do before a pod runs."""
    main = container("registry.invalid/never:pulled", ["true"])
    return pod_spec(main) | {"nodeSelector": {"speechless.dev/no-such-node": "true"}}


def pod(name: str, namespace: str, spec: Object, labels: Mapping[str, str] | None = None) -> Object:
    """A bare pod."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {APP: name} | dict(labels or {})},
        "spec": spec,
    }


def job(name: str, namespace: str, spec: Object, **fields: Any) -> Object:
    """A Job of one pod that is not tried again; `fields` are set in its spec."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "backoffLimit": 0,
            **fields,
            "template": {"metadata": {"labels": {APP: name}}, "spec": spec},
        },
    }


def deployment(name: str, namespace: str, spec: Object, replicas: int = 1) -> Object:
    """A Deployment of pods labelled with its name."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {APP: name}},
            "template": {"metadata": {"labels": {APP: name}}, "spec": spec | {"restartPolicy": "Always"}},
        },
    }


def service(name: str, namespace: str, *, port: int, target: int) -> Object:
    """A Service of the pods labelled with its name."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {APP: name}, "ports": [{"name": "http", "port": port, "targetPort": target}]},
    }


def config_map(name: str, namespace: str, data: Mapping[str, str]) -> Object:
    """A ConfigMap."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": dict(data),
    }


def claim(name: str, namespace: str, size: str = "16Mi") -> Object:
    """A claim of a volume of the default storage class, for pods of one node."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}},
    }


def claimed(name: str) -> Object:
    """The volume source of a claim."""
    return {"persistentVolumeClaim": {"claimName": name}}


def configured(name: str) -> Object:
    """The volume source of a ConfigMap."""
    return {"configMap": {"name": name}}
