"""kwok plays nodes and the pods on them, of as many Jobs as one likes: no container runs, everything else is real.

A pod runs as soon as it is scheduled, and ends when an annotation says so, in its template or patched onto it later:

| annotation | what it says |
|---|---|
| `test/run-for` | the pod ends after so long (a Go duration, such as `5s`) |
| `test/exit-code` | of all its containers (default 0) |
| `test/reason` | why a container ended (default: Completed or Error) |
| `test/message` | the termination message |

kwok speaks to the API server as the administrator and listens nowhere, so it also serves a cluster that is there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import cluster as clusters
from tests.support.beside import running
from tests.support.kube import Kube, Object
from tests.support.wait import wait_condition, wait_object

LEASES = "kube-node-lease"
PODS = "10.245.0.0/16"
"""The addresses of the pods that it plays."""

_OPTIONS = {
    "manageNodesWithAnnotationSelector": "kwok.x-k8s.io/node=fake",
    "cidr": PODS,
    "nodePort": 0,
    # With a configuration file, none of these has a default.
    "nodeLeaseDurationSeconds": 40,
    "nodeLeaseParallelism": 4,
    "podPlayStageParallelism": 8,
    "nodePlayStageParallelism": 4,
    "podsOnNodeSyncParallelism": 1,
}
_NODE_READY = """\
{{ $now := Now }}
conditions:
{{ range NodeConditions }}
- {lastHeartbeatTime: {{ $now | Quote }}, lastTransitionTime: {{ $now | Quote }}, message: {{ .message | Quote }},
   reason: {{ .reason | Quote }}, status: {{ .status | Quote }}, type: {{ .type | Quote }}}
{{ end }}
addresses:
- {type: Hostname, address: {{ NodeName | Quote }}}
- {type: InternalIP, address: {{ NodeIP | Quote }}}
phase: Running
"""
_POD_RUNNING = """\
{{ $now := Now }}
conditions:
{{ range list "PodReadyToStartContainers" "Initialized" "ContainersReady" "Ready" }}
- {type: {{ . | Quote }}, status: "True", lastTransitionTime: {{ $now | Quote }}}
{{ end }}
containerStatuses:
{{ range .spec.containers }}
- {name: {{ .name | Quote }}, image: {{ .image | Quote }}, imageID: {{ .image | Quote }}, ready: true, started: true,
   restartCount: 0, state: {running: {startedAt: {{ $now | Quote }}}}}
{{ end }}
{{ $ip := PodIPWith .spec.nodeName false .metadata.uid .metadata.name .metadata.namespace }}
podIP: {{ $ip | Quote }}
podIPs: [{ip: {{ $ip | Quote }}}]
hostIP: {{ NodeIP | Quote }}
phase: Running
startTime: {{ $now | Quote }}
"""
_POD_END = """\
{{ $now := Now }}{{ $pod := . }}{{ $notes := or .metadata.annotations dict }}
{{ $code := int ( index $notes "test/exit-code" | default "0" ) }}
phase: {{ if eq $code 0 }}Succeeded{{ else }}Failed{{ end }}
conditions:
{{ range list "ContainersReady" "Ready" }}
- {type: {{ . | Quote }}, status: "False", lastTransitionTime: {{ $now | Quote }}}
{{ end }}
containerStatuses:
{{ range $i, $c := .spec.containers }}
- {name: {{ $c.name | Quote }}, image: {{ $c.image | Quote }}, imageID: {{ $c.image | Quote }}, ready: false,
   started: false, restartCount: 0, state: {terminated: {exitCode: {{ $code }},
   reason: {{ index $notes "test/reason" | default ( ternary "Completed" "Error" ( eq $code 0 ) ) | Quote }},
   message: {{ index $notes "test/message" | default "" | Quote }}, finishedAt: {{ $now | Quote }},
   startedAt: {{ ( index $pod.status.containerStatuses $i ).state.running.startedAt | Quote }}}}}
{{ end }}
"""
_LIVES: Object = {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"}


def _stage(name: str, kind: str, selector: list[Object], **rest: Object) -> Object:
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": kind},
            "selector": {"matchExpressions": selector},
            **rest,
        },
    }


def _phase(value: str) -> Object:
    return {"key": ".status.phase", "operator": "In", "values": [value]}


def configuration() -> str:
    """kwok's configuration and stages: YAML documents (JSON is YAML)."""
    ready = '.status.conditions.[] | select(.type=="Ready") | .status'
    run_for = '.metadata.annotations["test/run-for"]'
    documents: list[Object] = [
        {"apiVersion": "config.kwok.x-k8s.io/v1alpha1", "kind": "KwokConfiguration", "options": _OPTIONS},
        _stage(
            "node-ready",
            "Node",
            [{"key": ready, "operator": "NotIn", "values": ["True"]}],
            next={"statusTemplate": _NODE_READY},
        ),
        _stage(
            "pod-running",
            "Pod",
            [_LIVES, _phase("Pending"), {"key": ".status.podIP", "operator": "DoesNotExist"}],
            next={"statusTemplate": _POD_RUNNING},
        ),
        _stage(
            "pod-end",
            "Pod",
            [_LIVES, _phase("Running"), {"key": run_for, "operator": "Exists"}],
            delay={"durationMilliseconds": 0, "durationFrom": {"expressionFrom": run_for}},
            next={"statusTemplate": _POD_END},
        ),
        _stage(
            "pod-delete",
            "Pod",
            [
                {"key": ".metadata.deletionTimestamp", "operator": "Exists"},
                {"key": ".metadata.finalizers", "operator": "DoesNotExist"},
            ],
            next={"delete": True},
        ),
    ]
    return "\n---\n".join(json.dumps(document) for document in documents) + "\n"


def node(name: str, pods: int) -> Object:
    """A node that kwok plays, with room for so many pods."""
    room = {"cpu": str(pods), "memory": f"{pods}Gi", "pods": str(pods)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "type": "kwok"},
        },
        "status": {"capacity": room, "allocatable": room},
    }


@contextmanager
def claims(kube: Kube, namespace: str, *names: str) -> Iterator[None]:
    """Volume claims of these names, bound, until the block ends: a pod with a claim is scheduled when it is bound.

    Nobody looks into the volumes behind them.
    """
    made = [f"{namespace}-{name}" for name in names]
    for name, volume in zip(names, made, strict=True):
        room: Object = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
        claim: Object = {"name": name, "namespace": namespace}
        kube.create(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": volume},
                "spec": {
                    **room,
                    "capacity": {"storage": "1Gi"},
                    "persistentVolumeReclaimPolicy": "Retain",
                    "hostPath": {"path": "/nowhere"},
                    "claimRef": claim,
                },
            }
        )
        kube.create(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": claim,
                "spec": {**room, "volumeName": volume, "resources": {"requests": {"storage": "1Gi"}}},
            }
        )
    for name in names:

        def bound(obj: Object) -> bool:
            return bool(obj["status"].get("phase") == "Bound")

        wait_object(kube, "PersistentVolumeClaim", name, namespace, bound, "to be bound", timeout=120)
    try:
        yield
    finally:
        for volume in made:
            kube.delete("PersistentVolume", volume, missing_ok=True)


@contextmanager
def playing(kube: Kube, kubeconfig: Path, folder: Path, *nodes: Object) -> Iterator[None]:
    """Play these nodes until the block ends; then they are taken away, and their pods with them."""
    program = clusters.program("kwok") / "kwok"
    config = folder / "kwok.yaml"
    config.write_text(configuration())
    names = [each["metadata"]["name"] for each in nodes]
    for name in names:  # a node whose Lease another kwok held a moment ago is left alone until that runs out
        kube.delete("Lease", name, LEASES, missing_ok=True)
        kube.delete("Node", name, missing_ok=True)
    argv: list[str | Path] = [
        program,
        "--config",
        config,
        "--kubeconfig",
        kubeconfig,
        "--node-ip",
        "127.0.0.1",
    ]
    try:
        with running(argv, folder / "kwok.log", lambda: True):
            for each in nodes:
                kube.create(each)
            for name in names:
                wait_condition(kube, "Node", name, None, "Ready", timeout=120)
            yield
    finally:
        for name in names:
            kube.delete("Node", name, missing_ok=True)
            kube.delete("Lease", name, LEASES, missing_ok=True)


def end(
    kube: Kube,
    pod: Object,
    message: str = "",
    *,
    exit_code: int = 0,
    reason: str = "",
    after: str = "0s",
) -> None:
    """Have a running pod end."""
    notes = {"test/message": message, "test/exit-code": str(exit_code), "test/run-for": after}
    if reason:
        notes["test/reason"] = reason
    meta = pod["metadata"]
    kube.patch("Pod", meta["name"], {"metadata": {"annotations": notes}}, meta["namespace"])
