"""The objects that make it a cluster: DNS's Service, the default StorageClass, the rights of what runs beside it."""

from __future__ import annotations

import json

from .binaries import Binaries
from .components import provisioner
from .instance import DNS_SERVICE, NODE, Instance
from .run import run


def apply(instance: Instance, binaries: Binaries) -> None:
    """Server-side apply: the same objects again change nothing."""
    objects = {"apiVersion": "v1", "kind": "List", "items": _objects(instance)}
    options = ["--server-side", "--field-manager=speechless-cluster", "--force-conflicts"]
    run([*_kubectl(instance, binaries), "apply", *options, "-f", "-"], stdin=json.dumps(objects))


def node_ready(instance: Instance, binaries: Binaries) -> bool:
    """Whether the node says it is ready."""
    path = '{.status.conditions[?(@.type=="Ready")].status}'
    return (
        run(
            [
                *_kubectl(instance, binaries),
                "get",
                "node",
                NODE,
                "--ignore-not-found",
                "-o",
                f"jsonpath={path}",
            ]
        )
        == "True"
    )


def _kubectl(instance: Instance, binaries: Binaries) -> list[str]:
    return [str(binaries.kubernetes), "kubectl", "--kubeconfig", str(instance.kubeconfig)]


def _objects(instance: Instance) -> list[dict[str, object]]:
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
    ]
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}},
            "spec": {"clusterIP": DNS_SERVICE, "ports": ports},
        },
        {
            # CoreDNS is a process, not a pod: the Service has no selector, and this says where it is.
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "kube-dns",
                "namespace": "kube-system",
                "labels": {"kubernetes.io/service-name": "kube-dns"},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [instance.address], "conditions": {"ready": True}}],
            "ports": ports,
        },
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {
                "name": "local",
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
            },
            "provisioner": provisioner.NAME,
            "reclaimPolicy": "Delete",
            "volumeBindingMode": "WaitForFirstConsumer",
        },
        *_rights(
            "dns",
            [
                {
                    "apiGroups": [""],
                    "resources": ["services", "pods", "namespaces"],
                    "verbs": ["list", "watch"],
                },
                {
                    "apiGroups": ["discovery.k8s.io"],
                    "resources": ["endpointslices"],
                    "verbs": ["list", "watch"],
                },
            ],
        ),
        *_rights(
            "provisioner",
            [
                {
                    "apiGroups": [""],
                    "resources": ["nodes", "persistentvolumeclaims"],
                    "verbs": ["get", "list", "watch"],
                },
                {
                    "apiGroups": [""],
                    "resources": ["persistentvolumes"],
                    "verbs": ["get", "list", "watch", "create", "delete", "patch", "update"],
                },
                {
                    "apiGroups": ["storage.k8s.io"],
                    "resources": ["storageclasses"],
                    "verbs": ["get", "list", "watch"],
                },
                {
                    "apiGroups": ["", "events.k8s.io"],
                    "resources": ["events"],
                    "verbs": ["create", "patch", "update"],
                },
            ],
        ),
    ]


def _rights(user: str, rules: list[dict[str, object]]) -> list[dict[str, object]]:
    name = f"speechless:{user}"
    return [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": name},
            "rules": rules,
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}],
        },
    ]
