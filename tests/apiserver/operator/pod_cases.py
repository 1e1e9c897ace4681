"""spec.pod: every setting once, and what is refused of it; tried by test_crds.py with the rest."""

from __future__ import annotations

from typing import Any

from tests.support.kube import Object

TERM = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "x"}}}


def every_setting() -> Object:
    """Every setting of a pod."""
    return {
        "image": "registry.example/train@sha256:" + "0" * 64,
        "resources": {"requests": {"cpu": 2, "memory": "8Gi"}, "limits": {"nvidia.com/gpu": 1}},
        "env": [
            {"name": "A", "value": "$(B)"},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}},
        ],
        "envFrom": [
            {"configMapRef": {"name": "more"}, "prefix": "MORE_"},
            {"secretRef": {"name": "keys", "optional": True}},
        ],
        "volumes": [
            {"name": "a", "configMap": {"name": "c", "items": [{"key": "k", "path": "p", "mode": 256}]}},
            {"name": "b", "secret": {"secretName": "s", "defaultMode": 256}},
            {"name": "c", "persistentVolumeClaim": {"claimName": "d", "readOnly": True}},
            {"name": "d", "emptyDir": {}},
            {"name": "e", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
        ],
        "volumeMounts": [
            {"name": "a", "mountPath": "/data/a", "readOnly": True},
            {"name": "a", "mountPath": "/data/.hidden", "subPath": "p"},
            {"name": "d", "mountPath": "/workspace"},
        ],
        "labels": {"team": "a", "sidecar.istio.io/inject": "false"},
        "annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"},
        "nodeSelector": {"disk": "fast"},
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "gpu", "operator": "In", "values": ["h100"]}]}
                    ]
                },
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 1,
                        "preference": {"matchExpressions": [{"key": "disk", "operator": "Exists"}]},
                    }
                ],
            },
            "podAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 2, "podAffinityTerm": TERM}]
            },
            "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [TERM | {"namespaceSelector": {}}]
            },
        },
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "schedulerName": "gang",
        "serviceAccountName": "trainer",
        "imagePullSecrets": [{"name": "registry"}],
        "priorityClassName": "batch",
        "runtimeClassName": "gvisor",
    }  # fmt: skip


_MOUNT = "the operator or the system uses this path"


def _mounted(path: str) -> tuple[str, str, Any, str]:
    return "FineTune", "pod.volumeMounts.2.mountPath", path, _MOUNT


REFUSED: dict[str, tuple[str, str, Any, str]] = {
    "a label of ours": (
        "FineTune", "pod.labels", {"speechless.dev/uid": "x"}, "speechless.dev/*, batch.kubernetes.io/* and app.kuber"
    ),
    "a label of the Job controller": ("FineTune", "pod.labels", {"batch.kubernetes.io/job-name": "x"}, "remove them"),
    "a label by which controllers find pods": ("InferenceService", "pod.labels", {"pod-template-hash": "x"}, "remove"),
    "the manager's label": ("FineTune", "pod.labels", {"app.kubernetes.io/managed-by": "x"}, "app.kubernetes.io/name"),
    "a queue by label": ("FineTune", "pod.labels", {"kueue.x-k8s.io/queue-name": "x"}, "named in spec.queueName"),
    "a label's value that cannot be": ("FineTune", "pod.labels", {"a": "b c"}, "spec.pod.labels.a"),
    "an annotation of ours": (
        "FineTune", "pod.annotations", {"speechless.dev/run": "x"},
        "speechless.dev/*, batch.kubernetes.io/* are set by the operator and by controllers",
    ),
    "a volume without a source": ("FineTune", "pod.volumes.3.emptyDir", None, "exactly one of configMap, secret"),
    "a volume with two": ("FineTune", "pod.volumes.3.secret", {"secretName": "x"}, "exactly one of configMap, secret"),
    "a folder of the node": ("FineTune", "pod.volumes.3.hostPath", {"path": "/"}, "unknown field"),
    "a service account's token": ("FineTune", "pod.volumes.3.projected", {}, "unknown field"),
    "a volume of our name": ("FineTune", "pod.volumes.3.name", "tmp", "are the operator's volumes"),
    "a volume of our claims' names": ("FineTune", "pod.volumes.3.name", "claim-0", "are the operator's volumes"),
    "a mount of nothing": ("FineTune", "pod.volumeMounts.2.name", "z", "names a volume that is not in volumes"),
    "two mounts at one place": ("FineTune", "pod.volumeMounts.2.mountPath", "/data/a", "Duplicate value"),
    "a mount at /": ("FineTune", "pod.volumeMounts.2.mountPath", "/", "spec.pod.volumeMounts[2].mountPath"),
    "a mount that is relative": ("FineTune", "pod.volumeMounts.2.mountPath", "data", "volumeMounts[2].mountPath"),
    **{
        f"a mount at {path}": _mounted(path)
        for path in (
            "/work", "/tmp", "/tmp/x", "/dev/shm", "/dev", "/etc", "/etc/speechless", "/etc/speechless/x", "/mnt",
            "/mnt/pvc/models", "/proc/1", "/sys", "/var/run/secrets/x", "/data/../tmp", "/data/..", "/./tmp",
        )
    },
    "variables from nowhere": ("FineTune", "pod.envFrom.0.configMapRef", None, "exactly one of configMapRef and"),
    "variables from two": ("FineTune", "pod.envFrom.0.secretRef", {"name": "x"}, "exactly one of configMapRef and"),
    "a variable twice": ("FineTune", "pod.env.1.name", "A", "Duplicate value"),
    "a weight of 0": (
        "FineTune", "pod.affinity.podAffinity.preferredDuringSchedulingIgnoredDuringExecution.0.weight", 0,
        "greater than or equal to 1",
    ),
}  # fmt: skip
