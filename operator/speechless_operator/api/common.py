"""Shapes that several kinds share: where a model comes from, how a run is governed, how its pod looks."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from speechless_operator.api.base import ApiModel, Cel, Immutable, rules
from speechless_operator.api.pod import PodSettings

MAX_NAME = 40
"""Of a new resource's name. A Job's name is `<name>-<kind>-<hash>`: a hyphen, a kind (4 at most), a hyphen and 8
hexadecimal digits, so 40 + 14 = 54. The pods of an Indexed Job have the host name `<job>-<index>`, which is a label's
63 characters at most: 63 - 54 leaves a hyphen and 8 more, enough for 100,000 indices (5) and for a word that a newer
version may put in between."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")]
"""Of a resource of ours that is referred to. Resources of earlier versions have names of up to 49 characters."""
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
