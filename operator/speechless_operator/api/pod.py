"""How a pod looks: spec.pod of every kind. What is not here is the operator's, or the administrator's default."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from speechless.contract import SecretReference
from speechless_operator.api.affinity import Affinity, Key, LabelValue
from speechless_operator.api.base import ApiModel, Atomic, Cel, ListMap, rules
from speechless_operator.api.volumes import ObjectName, Quantity, Volume, VolumeMount

OUR_PREFIXES = ("speechless.dev/", "batch.kubernetes.io/")
OUR_KEYS = (
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/part-of",
    "app.kubernetes.io/managed-by",
    "kueue.x-k8s.io/queue-name",
    "controller-uid",
    "job-name",
    "pod-template-hash",
)
"""Labels and annotations by which controllers, ours among them, know their pods."""

Labels = Annotated[
    dict[str, LabelValue],
    Field(max_length=32),
    Cel(
        rule=f"self.all(k, !{list(OUR_PREFIXES)}.exists(p, k.startsWith(p)) && !(k in {list(OUR_KEYS)}))",
        message=f"{'*, '.join(OUR_PREFIXES)}* and {', '.join(OUR_KEYS)} are set by the operator and by controllers: "
        "remove them (a queue is named in spec.queueName)",
    ),
]
Annotations = Annotated[
    dict[str, Annotated[str, StringConstraints(max_length=4096)]],
    Field(max_length=32),
    Cel(
        rule=f"self.all(k, !{list(OUR_PREFIXES)}.exists(p, k.startsWith(p)))",
        message=f"{'*, '.join(OUR_PREFIXES)}* are set by the operator and by controllers: remove them",
    ),
]


class Resources(ApiModel):
    """What the container asks for and may use, as in a pod."""

    requests: Annotated[dict[str, Quantity], Field(max_length=16)] = {}
    """What the scheduler sets aside, such as `cpu: 2`, `memory: 8Gi`."""
    limits: Annotated[dict[str, Quantity], Field(max_length=16)] = {}
    """What it may use at most, such as `memory: 8Gi`, `nvidia.com/gpu: 1`."""


class Toleration(ApiModel):
    """A taint that the pod tolerates, as in a pod."""

    key: Key | None = None
    """The taint's key; without it, every taint (operator Exists)."""
    operator: Annotated[str, StringConstraints(pattern="^(Exists|Equal)$", max_length=6)] = "Equal"
    """`Equal`: key and value; `Exists`: the key, whatever its value."""
    value: Annotated[str, StringConstraints(max_length=63)] | None = None
    """The taint's value."""
    effect: (
        Annotated[str, StringConstraints(pattern="^(NoSchedule|PreferNoSchedule|NoExecute)$", max_length=16)]
        | None
    ) = None
    """NoSchedule, PreferNoSchedule or NoExecute; without it, all of them."""
    toleration_seconds: int | None = None
    """NoExecute: seconds that the pod stays on the node after the taint was added."""


class SecretKey(ApiModel):
    """One key of a Secret of this namespace."""

    name: ObjectName
    """The Secret's name."""
    key: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    """The key in it."""


class EnvSource(ApiModel):
    """Where a variable's value comes from."""

    secret_key_ref: SecretKey
    """A Secret. The operator never reads it: the kubelet does."""


class EnvVar(ApiModel):
    """A variable of the container's environment."""

    model_config = rules(
        Cel(rule="has(self.value) != has(self.valueFrom)", message="set exactly one of value and valueFrom")
    )

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)]
    """Its name. A variable that the operator sets, too (HOME), gets the value from here."""
    value: Annotated[str, StringConstraints(max_length=4096)] | None = None
    """Its value, as it stands: neither `$(OTHER)` nor `$$` is expanded."""
    value_from: EnvSource | None = None
    """Where its value comes from."""


class EnvObject(ApiModel):
    """A ConfigMap or a Secret of this namespace."""

    name: ObjectName
    """Its name."""
    optional: bool = False
    """true: the pod also starts without it."""


class EnvFrom(ApiModel):
    """A variable for every key of an object: exactly one of configMapRef and secretRef."""

    model_config = rules(
        Cel(
            rule="has(self.configMapRef) != has(self.secretRef)",
            message="set exactly one of configMapRef and secretRef",
        )
    )

    prefix: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)] | None = (
        None
    )
    """Put before every key."""
    config_map_ref: EnvObject | None = None
    """A ConfigMap."""
    secret_ref: EnvObject | None = None
    """A Secret. The operator never reads it: the kubelet does."""


class PodSettings(ApiModel):
    """How the pod looks. What is not here is set by the operator: it always passes Pod Security `restricted`.
    The administrator may have defaults for it, which what stands here wins over, and ceilings above it."""

    model_config = rules(
        Cel(
            rule="!has(self.volumeMounts) || self.volumeMounts.all(m, has(self.volumes)"
            " && self.volumes.exists(v, v.name == m.name))",
            message="a mount names a volume that is not in volumes: add the volume, or mend the name",
            field_path=".volumeMounts",
        )
    )

    image: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = None
    """The image to use instead of the operator's for this kind; best with a digest."""
    resources: Resources = Resources()
    """What the container asks for and may use."""
    env: Annotated[list[EnvVar], ListMap(), Field(max_length=64)] = []
    """More variables for the container."""
    env_from: Annotated[list[EnvFrom], Atomic(), Field(max_length=16)] = []
    """More variables, from ConfigMaps and Secrets. Those of env, the administrator or the operator (HOME) win."""
    volumes: Annotated[list[Volume], ListMap(), Field(max_length=16)] = []
    """More volumes for the pod. Claims that a uri names (`pvc://`) are mounted anyway."""
    volume_mounts: Annotated[list[VolumeMount], ListMap("mountPath"), Field(max_length=16)] = []
    """Where they are in the container."""
    labels: Labels = {}
    """More labels for the pod, such as `sidecar.istio.io/inject: "false"`."""
    annotations: Annotations = {}
    """More annotations for the pod."""
    node_selector: Annotated[dict[str, LabelValue], Field(max_length=16)] = {}
    """Labels that the node must have."""
    affinity: Affinity | None = None
    """Where the pod may or should run."""
    tolerations: Annotated[list[Toleration], Atomic(), Field(max_length=16)] = []
    """Taints of nodes that the pod tolerates."""
    scheduler_name: ObjectName | None = None
    """The scheduler that places the pod; without it, the cluster's default."""
    service_account_name: ObjectName | None = None
    """The pod's service account. Its token is not mounted."""
    image_pull_secrets: Annotated[list[SecretReference], ListMap(), Field(max_length=8)] = []
    """Secrets with credentials for the image's registry."""
    priority_class_name: ObjectName | None = None
    """How the scheduler ranks the pod."""
    runtime_class_name: ObjectName | None = None
    """A container runtime of the cluster, such as a sandbox for code that a model wrote."""
