"""Shapes that several kinds share: where a model comes from, how a run is governed, how its pod looks."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from speechless_operator.api.base import ApiModel, Atomic, Cel, Immutable, ListMap, rules

MAX_NAME = 40
"""Of a new resource's name. A Job's name is `<name>-<kind>-<hash>`: a hyphen, a kind (4 at most), a hyphen and 8
hexadecimal digits, so 40 + 14 = 54. The pods of an Indexed Job have the host name `<job>-<index>`, which is a label's
63 characters at most: 63 - 54 leaves a hyphen and 8 more, enough for 100,000 indices (5) and for a word that a newer
version may put in between."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")]
"""Of a resource of ours that is referred to. Resources of earlier versions have names of up to 49 characters."""
ObjectName = Annotated[
    str, StringConstraints(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$")
]
"""Of any other object."""
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$", max_length=71)]
_URI_PATTERN = r"^(pvc|file)://.+$"
_URI_RULES = Cel(
    rule="(self.matches('^pvc://[a-z0-9]([-.a-z0-9]*[a-z0-9])?/.+$') || self.startsWith('file:///'))"
    " && !self.contains('/../') && !self.endsWith('/..')",
    message="must be pvc://<claim>/<path> (a claim of this namespace) or file:///<path>, without `..`",
)
Uri = Annotated[str, StringConstraints(pattern=_URI_PATTERN, min_length=8, max_length=1024), _URI_RULES]
"""Where something is. Schemes that work: pvc, and file where the operator allows it."""


class Reference(ApiModel):
    """Another resource of the same namespace. It may be created later: the one that refers to it waits."""

    name: Name
    """Its name."""


WaitSeconds = Annotated[int, Field(ge=1, le=86_400)]


class DataSource(ApiModel):
    """Data that is read as it is."""

    uri: Uri
    """Where it is: `pvc://<claim>/<path>`, or `file:///<path>` in the image where the operator allows it."""
    digest: Digest | None = None
    """What it must digest to; without it, the digest of what was read is recorded in status.inputs."""
    wait_seconds: WaitSeconds | None = None
    """How long the pod waits for what is at uri to appear; without it, what is not there is an error at once."""


class ModelSource(ApiModel):
    """Where a model comes from: exactly one of uri, fineTune and quantization."""

    model_config = rules(
        Cel(
            rule="[has(self.uri), has(self.fineTune), has(self.quantization)].filter(x, x).size() == 1",
            message="set exactly one of uri, fineTune and quantization",
        ),
        Cel(
            rule="!has(self.digest) || has(self.uri)",
            message="digest goes with uri; what fineTune or quantization made has its digest already: remove digest",
            field_path=".digest",
        ),
        Cel(
            rule="!has(self.waitSeconds) || has(self.uri)",
            message="waitSeconds goes with uri; fineTune and quantization are waited for anyway: remove waitSeconds",
            field_path=".waitSeconds",
        ),
    )

    uri: Uri | None = None
    """Where the model is: `pvc://<claim>/<path>`, or `file:///<path>` in the image where the operator allows it."""
    digest: Digest | None = None
    """What the model at uri must digest to. Needed where a gate stands before the model."""
    wait_seconds: WaitSeconds | None = None
    """How long the pod waits for what is at uri to appear; without it, what is not there is an error at once."""
    fine_tune: Reference | None = None
    """The artifact of a FineTune of this namespace."""
    quantization: Reference | None = None
    """The artifact of a Quantization of this namespace."""


class Output(ApiModel):
    """Where the artifact goes."""

    # The limit is the schema's alone: an object that an earlier version let in is still read.
    uri: Annotated[Uri, Field(json_schema_extra={"maxLength": 512})]
    """The folder under which `<namespace>/<kind>/<name>/<run>/` is made, such as `pvc://<claim>/<path>`."""


# ---------------------------------------------------------------------------------------------------------------- pod

Quantity = Annotated[int | str, Field()]
_Label = Annotated[str, StringConstraints(max_length=316)]
_LabelValue = Annotated[str, StringConstraints(max_length=63)]


class Resources(ApiModel):
    """What the container asks for and may use, as in a pod."""

    requests: Annotated[dict[str, Quantity], Field(max_length=16)] = {}
    """What the scheduler sets aside, such as `cpu: 2`, `memory: 8Gi`."""
    limits: Annotated[dict[str, Quantity], Field(max_length=16)] = {}
    """What it may use at most, such as `memory: 8Gi`, `nvidia.com/gpu: 1`."""


class Toleration(ApiModel):
    """A taint that the pod does not mind, as in a pod."""

    key: _Label | None = None
    """The taint's key; without it, every taint (operator Exists)."""
    operator: Annotated[str, StringConstraints(pattern="^(Exists|Equal)$", max_length=6)] = "Equal"
    """`Equal`: key and value; `Exists`: the key, whatever its value."""
    value: _LabelValue | None = None
    """The taint's value."""
    effect: (
        Annotated[str, StringConstraints(pattern="^(NoSchedule|PreferNoSchedule|NoExecute)$", max_length=16)]
        | None
    ) = None
    """NoSchedule, PreferNoSchedule or NoExecute; without it, all of them."""
    toleration_seconds: int | None = None
    """NoExecute: how long the pod stays on a node after the taint came."""


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
    """Its name."""
    value: Annotated[str, StringConstraints(max_length=4096)] | None = None
    """Its value, as it stands: `$(OTHER)` is not expanded."""
    value_from: EnvSource | None = None
    """Where its value comes from."""


class SecretReference(ApiModel):
    """A Secret of this namespace."""

    name: ObjectName
    """Its name."""


class PodSettings(ApiModel):
    """How the pod looks. What is not here is set by the operator: it always passes Pod Security `restricted`."""

    image: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = None
    """Instead of the operator's image for this kind; best with a digest."""
    resources: Resources = Resources()
    """What the container asks for and may use."""
    env: Annotated[list[EnvVar], ListMap(), Field(max_length=64)] = []
    """More variables for the container."""
    node_selector: Annotated[dict[str, _LabelValue], Field(max_length=16)] = {}
    """Labels that the node must have."""
    tolerations: Annotated[list[Toleration], Atomic(), Field(max_length=16)] = []
    """Taints of nodes that the pod does not mind."""
    service_account_name: ObjectName | None = None
    """The pod's service account. Its token is not mounted."""
    image_pull_secrets: Annotated[list[SecretReference], ListMap(), Field(max_length=8)] = []
    """Secrets with credentials for the image's registry."""
    priority_class_name: ObjectName | None = None
    """How the scheduler ranks the pod."""
    runtime_class_name: ObjectName | None = None
    """A container runtime of the cluster, such as a sandbox for code that a model wrote."""


# ---------------------------------------------------------------------------------------------------------------- run

_QUEUE = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
"""Of a LocalQueue: it is a label's value on the Job."""
JOB_FREE = ("suspend", "ttlSecondsAfterFinished")


def job_immutable(kind: str) -> Immutable:
    """A job's spec is one run: what it says never changes, but for when it may run and how long it is kept."""
    return Immutable(
        what_to_do=f"cannot change: a {kind} is one run. Create another {kind} with the new value, or delete this "
        "one and create it again",
        free=JOB_FREE,
    )


class JobSpec(ApiModel):
    """What every kind that runs once has."""

    output: Output | None = None
    """Where the artifact goes; without it, the operator's artifact store."""
    suspend: bool = False
    """true: nothing runs; a running pod is stopped after it saved what it can. May change."""
    active_deadline_seconds: Annotated[int, Field(ge=1, le=31_536_000)] | None = None
    """The run fails after so long, however far it is."""
    backoff_limit: Annotated[int, Field(ge=0, le=100)] = 3
    """How often a run that failed for a passing cause is tried again. Bad input and lack of memory are not tried again;
    what a node's end interrupts is not counted."""
    queue_name: Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=_QUEUE)] | None = None
    """The Kueue LocalQueue of this namespace that decides when the run may begin; without it, at once."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31_536_000)] | None = None
    """This resource is deleted so long after its end; its artifact stays. May change."""
    pod: PodSettings = PodSettings()
    """How the pod looks."""
