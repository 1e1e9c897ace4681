"""What the administrator decides: the operator's flags and its file, as far as they reach children."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints, field_validator

from speechless.contract import SecretReference, engines
from speechless.contract.stages import STAGE_IMAGES
from speechless_operator.api.base import ApiModel
from speechless_operator.api.pod import (
    OUR_KEYS,
    OUR_PREFIXES,
    Annotations,
    EnvVar,
    Labels,
    Toleration,
)


class _FileModel(ApiModel):
    """A part of the administrator's file: what nobody knows is a mistake there."""

    model_config = ConfigDict(extra="forbid")


class PodDefaults(_FileModel):
    """How every pod of a stage looks unless a resource says otherwise."""

    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When the kubelet pulls the image."""
    image_pull_secrets: tuple[SecretReference, ...] = ()
    """Secrets with credentials for the images' registry, beside those of the resource. Each namespace needs them."""
    labels: Labels = {}
    """Labels of the pods. A resource's own win."""
    annotations: Annotations = {}
    """Annotations of the pods. A resource's own win."""
    env: tuple[EnvVar, ...] = ()
    """Variables: proxies, certificates, mirrors (HTTPS_PROXY, SSL_CERT_FILE, HF_ENDPOINT). A resource's own win."""
    uid: Annotated[int, Field(ge=1, le=2_147_483_647)] | None = 65532
    """User, group and group of the volumes; 65532 is `nonroot` of the images. null: the cluster chooses, as OpenShift's
    restricted-v2 wants it."""
    node_selector: dict[str, str] = {}
    """Labels that the nodes must have, beside those of the resource."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints that the pods do not mind, beside those of the resource."""
    priority_class_name: str | None = None
    """How the scheduler ranks the pods. A resource's own wins."""
    runtime_class_name: str | None = None
    """The container runtime of the pods. A resource's own wins."""

    @field_validator("labels", "annotations")
    @classmethod
    def _not_ours(cls, found: dict[str, str]) -> dict[str, str]:
        taken = [key for key in found if key.startswith(OUR_PREFIXES) or key in OUR_KEYS]
        if taken:
            raise ValueError(f"{', '.join(taken)}: set by the operator and by controllers: remove it")
        return found


_Words = tuple[Annotated[str, StringConstraints(min_length=1, max_length=512)], ...]


class Ceilings(_FileModel):
    """What resources may not go beyond. A list that is absent or null allows anything, an empty one nothing."""

    image_prefixes: _Words | None = None
    """What spec.pod.image and `image://` may begin with: a registry, a registry and a path, or a whole reference."""
    allow_env: bool = True
    """Whether spec.pod.env and envFrom may be set."""
    allow_volumes: bool = True
    """Whether spec.pod.volumes may be set."""
    service_accounts: _Words | None = None
    """What spec.pod.serviceAccountName may be."""
    priority_classes: _Words | None = None
    """What spec.pod.priorityClassName may be."""
    runtime_classes: _Words | None = None
    """What spec.pod.runtimeClassName may be."""
    uri_prefixes: _Words | None = None
    """What the address of a model, of data or of an output may begin with, such as `pvc://models`."""
    engine_args: _Words | None = None
    """Which of the engine's allowed arguments may be used, by their flags."""


class AdministratorFile(_FileModel):
    """The file of `--config`: what is too nested for a flag."""

    stage_pods: PodDefaults = PodDefaults()
    """Defaults for the pods of stages."""
    ceilings: Ceilings = Ceilings()
    """What resources may not go beyond."""


def image_names() -> tuple[str, ...]:
    """The images there are: each is a flag, `--image-<name>`."""
    return tuple(dict.fromkeys((*STAGE_IMAGES.values(), *engines.images())))


@dataclass(frozen=True)
class Settings:
    """Flags that children and their stages are made from."""

    images: Mapping[str, str] = field(default_factory=dict)
    artifact_store: str = ""
    """`pvc://<claim>/<prefix>`; the claim lives in each resource's namespace. Empty: every resource must say."""
    artifact_store_secret: str = ""
    """The Secret that writing there needs: one of this name in each resource's namespace. Empty: none."""
    allow_code_execution: bool = False
    """The ceiling above spec.allowCodeExecution."""
    allow_file_uris: bool = False
    """Whether file:// (a path in the image) may be used."""
    pods: PodDefaults = field(default_factory=PodDefaults)
    """Defaults for the pods of stages."""
    ceilings: Ceilings = field(default_factory=Ceilings)
    """What resources may not go beyond."""
    operator_version: str = ""
    """The version of the operator that decides, for labels and status."""
