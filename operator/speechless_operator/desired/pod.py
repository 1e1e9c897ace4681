"""The pod of a stage: passes Pod Security `restricted`, has no token, and no shell sees what a user wrote."""

from __future__ import annotations

from speechless.contract import StageName
from speechless.contract.progress import PORT as PROGRESS_PORT
from speechless_operator.api.common import EnvVar, PodSettings
from speechless_operator.desired.mounts import Mounts
from speechless_operator.desired.objects import Object

CONTAINER = "stage"
SPEC_FOLDER = "/etc/speechless"
SPEC_FILE = "stage.json"
UID = 65532
"""`nonroot` of the distroless images; the images of this project use it, too."""
SHM_LIMIT = "2Gi"
"""Of /dev/shm, for data loaders: a ceiling, not a request; what is used counts as the container's memory."""


def stage_pod(
    stage: StageName,
    *,
    image: str,
    config_map: str,
    mounts: Mounts,
    settings: PodSettings,
    grace_seconds: int,
    container: Object | None = None,
) -> Object:
    """A pod spec; `container` adds to the container (probes, ports) or replaces a part of it."""
    spec: Object = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace_seconds,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": UID,
            "runAsGroup": UID,
            "fsGroup": UID,
            # A volume of models has many large files: do not touch each of them at every start.
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(stage, image, mounts, settings) | (container or {})],
        "volumes": [
            {"name": "spec", "configMap": {"name": config_map}},
            {"name": "work", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": SHM_LIMIT}},
            *mounts.volumes(),
        ],
    }
    return spec | _placement(settings)


def _container(stage: StageName, image: str, mounts: Mounts, settings: PodSettings) -> Object:
    made: Object = {
        "name": CONTAINER,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-m", "speechless.stage", stage.value, "--spec", f"{SPEC_FOLDER}/{SPEC_FILE}"],
        # The root is read-only and the user has no home: what libraries cache goes where it can be written.
        "env": [{"name": "HOME", "value": "/tmp"}, *(_env(variable) for variable in settings.env)],
        "ports": [{"name": "progress", "containerPort": PROGRESS_PORT, "protocol": "TCP"}],
        "volumeMounts": [
            {"name": "spec", "mountPath": SPEC_FOLDER, "readOnly": True},
            {"name": "work", "mountPath": "/work"},
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "shm", "mountPath": "/dev/shm"},
            *mounts.volume_mounts(),
        ],
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    resources = {
        name: dict(amounts)
        for name, amounts in (
            ("requests", settings.resources.requests),
            ("limits", settings.resources.limits),
        )
        if amounts
    }
    return made | {"resources": resources} if resources else made


def _env(variable: EnvVar) -> Object:
    if variable.value_from is not None:
        key = variable.value_from.secret_key_ref
        return {
            "name": variable.name,
            "valueFrom": {"secretKeyRef": {"name": key.name, "key": key.key}},
        }
    # `$$` is a dollar: the kubelet expands `$(NAME)`, and a user's value is to stand as it is.
    return {"name": variable.name, "value": (variable.value or "").replace("$(", "$$(")}


def _placement(settings: PodSettings) -> Object:
    found = {
        "nodeSelector": dict(settings.node_selector),
        "tolerations": [t.model_dump(by_alias=True, exclude_none=True) for t in settings.tolerations],
        "serviceAccountName": settings.service_account_name,
        "imagePullSecrets": [{"name": secret.name} for secret in settings.image_pull_secrets],
        "priorityClassName": settings.priority_class_name,
        "runtimeClassName": settings.runtime_class_name,
    }
    return {key: value for key, value in found.items() if value}
