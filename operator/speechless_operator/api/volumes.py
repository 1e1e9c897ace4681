"""Volumes that a user adds to a pod: what a namespace has, and nothing of the node."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from speechless_operator.api.base import ApiModel, Atomic, Cel, rules

ObjectName = Annotated[
    str, StringConstraints(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$")
]
"""Of an object that is not ours."""
Quantity = Annotated[int | str, Field()]
OUR_VOLUMES = ("spec", "work", "tmp", "shm")
"""Names of the operator's volumes. Those that a URI means are numbered: `claim-0`, `image-0`, `secretref-0`."""
OUR_PATHS = (
    "/etc/speechless",
    "/work",
    "/tmp",
    "/mnt/pvc",
    "/mnt/images",
    "/mnt/secrets",
    "/dev",
    "/proc",
    "/sys",
    "/var/run/secrets",
    "/run/secrets",
)
"""Where the operator or the kernel mounts: nothing may be mounted there or below."""
ABOVE_OUR_PATHS = ("/etc", "/mnt", "/var", "/var/run", "/run")
"""What would hide them."""

_VolumeName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"),
    Cel(
        rule=f"!(self in {list(OUR_VOLUMES)}) && !self.matches('^(claim|image|secretref)-')",
        message=f"{', '.join(OUR_VOLUMES)}, claim-*, image-* and secretref-* are the operator's volumes: "
        "give it another name",
    ),
]
_MountPath = Annotated[
    str,
    StringConstraints(min_length=2, max_length=512, pattern=r"^(/[^/:]+)+$"),
    Cel(
        rule="!self.matches('/[.][.]?(/|$)')"
        f" && !(self in {list(ABOVE_OUR_PATHS)})"
        f" && !{list(OUR_PATHS)}.exists(p, self == p || self.startsWith(p + '/'))",
        message="the operator or the system uses this path, one above or one below it, or it has a step `.` or `..`: "
        "mount somewhere else, such as /data",
    ),
]
_Mode = Annotated[int, Field(ge=0, le=0o777)]


class KeyToPath(ApiModel):
    """One key, as a file."""

    key: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    """The key."""
    path: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    """The file's path below the mount."""
    mode: _Mode | None = None
    """The file's mode."""


_Items = Annotated[list[KeyToPath], Atomic(), Field(max_length=64)]


class ConfigMapVolume(ApiModel):
    """A ConfigMap of this namespace, as files."""

    name: ObjectName
    """Its name."""
    items: _Items = []
    """Some of its keys; without it, all."""
    default_mode: _Mode | None = None
    """The files' mode."""
    optional: bool = False
    """true: the pod also starts without it."""


class SecretVolume(ApiModel):
    """A Secret of this namespace, as files. The operator never reads it: the kubelet does."""

    secret_name: ObjectName
    """Its name."""
    items: _Items = []
    """Some of its keys; without it, all."""
    default_mode: _Mode | None = None
    """The files' mode."""
    optional: bool = False
    """true: the pod also starts without it."""


class ClaimVolume(ApiModel):
    """A PersistentVolumeClaim of this namespace."""

    claim_name: ObjectName
    """Its name."""
    read_only: bool = False
    """true: it can only be read."""


class EmptyDirVolume(ApiModel):
    """An empty folder that is deleted with the pod."""

    medium: Literal["", "Memory"] = ""
    """Memory: a file system in memory, which counts as the container's memory."""
    size_limit: Quantity | None = None
    """Its largest size."""


class Volume(ApiModel):
    """A volume: exactly one of configMap, secret, persistentVolumeClaim and emptyDir."""

    model_config = rules(
        Cel(
            rule="[has(self.configMap), has(self.secret), has(self.persistentVolumeClaim), has(self.emptyDir)]"
            ".filter(x, x).size() == 1",
            message="set exactly one of configMap, secret, persistentVolumeClaim and emptyDir",
        )
    )

    name: _VolumeName
    """The name that volumeMounts use."""
    config_map: ConfigMapVolume | None = None
    """A ConfigMap, as files."""
    secret: SecretVolume | None = None
    """A Secret, as files."""
    persistent_volume_claim: ClaimVolume | None = None
    """A claim."""
    empty_dir: EmptyDirVolume | None = None
    """An empty folder that is deleted with the pod."""


class VolumeMount(ApiModel):
    """Where a volume is in the container."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=63)]
    """The name of the volume."""
    mount_path: _MountPath
    """The folder in the container. It cannot be one that the operator mounts."""
    read_only: bool = False
    """true: it can only be read."""
    sub_path: Annotated[str, StringConstraints(max_length=512)] | None = None
    """A path in the volume instead of its root."""
