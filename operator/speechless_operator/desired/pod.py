"""The pod of a stage: passes Pod Security `restricted`, has no token, and no shell sees what a user wrote."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from speechless.contract import StageName
from speechless.contract.progress import PORT as PROGRESS_PORT
from speechless_operator.api.base import ApiModel
from speechless_operator.api.pod import EnvVar, PodSettings
from speechless_operator.desired.mounts import Mounts
from speechless_operator.desired.objects import Object
from speechless_operator.desired.settings import PodDefaults

CONTAINER = "stage"
SPEC_FOLDER = "/etc/speechless"
SPEC_FILE = "stage.json"
SHM_LIMIT = "2Gi"
"""Of /dev/shm, for data loaders: a ceiling, not a request; what is used counts as the container's memory."""


def stage_pod(
    stage: StageName,
    *,
    image: str,
    config_map: str,
    mounts: Mounts,
    settings: PodSettings,
    defaults: PodDefaults = PodDefaults(),  # noqa: B008 - frozen
    grace_seconds: int,
    container: Object | None = None,
) -> Object:
    """A pod spec; `container` adds to the container (probes, ports) or replaces a part of it."""
    spec: Object = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace_seconds,
        "securityContext": _security(defaults),
        "containers": [_container(stage, image, mounts, settings, defaults) | (container or {})],
        "volumes": [
            {"name": "spec", "configMap": {"name": config_map}},
            {"name": "work", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": SHM_LIMIT}},
            *mounts.volumes(),
            *(_wire(volume) for volume in settings.volumes),
        ],
    }
    return spec | _placement(settings, defaults)


def template_metadata(
    owner_labels: Mapping[str, str],
    settings: PodSettings,
    defaults: PodDefaults = PodDefaults(),  # noqa: B008 - frozen
) -> Object:
    """The metadata of a pod template. The administrator's are overridden by the user's, and the user's by ours."""
    made: Object = {"labels": defaults.labels | settings.labels | dict(owner_labels)}
    annotations = defaults.annotations | settings.annotations
    return made | {"annotations": annotations} if annotations else made


def _security(defaults: PodDefaults) -> Object:
    made: Object = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    if defaults.uid is None:
        return made
    return made | {
        "runAsUser": defaults.uid,
        "runAsGroup": defaults.uid,
        "fsGroup": defaults.uid,
        # A volume of models has many large files: do not touch each of them at every start.
        "fsGroupChangePolicy": "OnRootMismatch",
    }


def _container(
    stage: StageName, image: str, mounts: Mounts, settings: PodSettings, defaults: PodDefaults
) -> Object:
    made: Object = {
        "name": CONTAINER,
        "image": image,
        "imagePullPolicy": defaults.image_pull_policy,
        "command": ["python", "-m", "speechless.stage", stage.value, "--spec", f"{SPEC_FOLDER}/{SPEC_FILE}"],
        "env": _env(defaults, settings),
        "ports": [{"name": "progress", "containerPort": PROGRESS_PORT, "protocol": "TCP"}],
        "volumeMounts": [
            {"name": "spec", "mountPath": SPEC_FOLDER, "readOnly": True},
            {"name": "work", "mountPath": "/work"},
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "shm", "mountPath": "/dev/shm"},
            *mounts.volume_mounts(),
            *(_wire(mount) for mount in settings.volume_mounts),
        ],
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    more: Object = {
        "envFrom": [_wire(source) for source in settings.env_from],
        "resources": {
            name: dict(amounts)
            for name, amounts in (
                ("requests", settings.resources.requests),
                ("limits", settings.resources.limits),
            )
            if amounts
        },
    }
    return made | {key: value for key, value in more.items() if value}


def _env(defaults: PodDefaults, settings: PodSettings) -> list[Object]:
    """Each name once: two entries of one name are two owners of it to server-side apply, which refuses them."""
    # The root is read-only and the user has no home: what libraries cache goes where it can be written.
    made: dict[str, Object] = {"HOME": {"name": "HOME", "value": "/tmp"}}
    if defaults.uid is None:
        # A user id of the cluster's choice has no name, and Python's getpass.getuser (torch asks it) fails without one.
        made["USER"] = {"name": "USER", "value": "speechless"}
    for variable in (*defaults.env, *settings.env):
        made[variable.name] = _variable(variable)
    return list(made.values())


def _variable(variable: EnvVar) -> Object:
    if variable.value_from is not None:
        key = variable.value_from.secret_key_ref
        return {
            "name": variable.name,
            "valueFrom": {"secretKeyRef": {"name": key.name, "key": key.key}},
        }
    # `$$` is a dollar to the kubelet, wherever it stands, and `$(NAME)` a variable: a value is to stand as it is.
    return {"name": variable.name, "value": (variable.value or "").replace("$", "$$")}


def _placement(settings: PodSettings, defaults: PodDefaults) -> Object:
    found = {
        "nodeSelector": defaults.node_selector | settings.node_selector,
        "affinity": _wire(settings.affinity) if settings.affinity else None,
        "tolerations": _unique(_wire(t) for t in (*defaults.tolerations, *settings.tolerations)),
        "schedulerName": settings.scheduler_name,
        "serviceAccountName": settings.service_account_name,
        "imagePullSecrets": _unique(
            {"name": secret.name} for secret in (*defaults.image_pull_secrets, *settings.image_pull_secrets)
        ),
        "priorityClassName": settings.priority_class_name or defaults.priority_class_name,
        "runtimeClassName": settings.runtime_class_name or defaults.runtime_class_name,
    }
    return {key: value for key, value in found.items() if value}


def _unique(found: Iterable[Object]) -> list[Object]:
    made: list[Object] = []
    for entry in found:
        if entry not in made:
            made.append(entry)
    return made


def _wire(model: ApiModel) -> dict[str, Any]:
    """As Kubernetes has it. What is not set is left out; an object that is set and empty (`emptyDir: {}`) is said."""
    return model.model_dump(by_alias=True, exclude_none=True, exclude_unset=True)
