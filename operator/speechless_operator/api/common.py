"""Shapes that several kinds share: where a model comes from, how a run is governed, how its pod looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, StringConstraints
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from speechless import contract
from speechless.contract import storage
from speechless.contract.model import Rule
from speechless_operator.api.base import VALIDATIONS, ApiModel, Cel, Immutable, rules
from speechless_operator.api.pod import PodSettings

MAX_NAME = 40
"""Of a new resource's name. A Job's name is `<name>-<kind>-<run>`: a hyphen, a kind (4 at most), a hyphen and the 10
hexadecimal digits of the run, so 40 + 16 = 56; a further attempt adds a hyphen and 3 digits at most, so 60. The pods of
an Indexed Job have the host name `<job>-<index>`, which is a label's 63 characters at most: 63 - 56 leaves a hyphen and
6 digits at the first attempt, and at the last one of a hundred a hyphen and 2. (`objects.short_name` cuts what is
longer still.)"""

Name = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")]
"""Of a resource of ours that is referred to. Resources of earlier versions have names of up to 49 characters."""


@dataclass(frozen=True)
class _KnownScheme:
    """A URI of a scheme of `speechless.contract.storage`."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return AfterValidator(self.check).__get_pydantic_core_schema__(source, handler)

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        rule = storage.rule()
        cel = Cel(rule.rule, rule.message).as_dict()
        return handler(core) | {"pattern": storage.pattern(), VALIDATIONS: [cel]}

    @staticmethod
    def check(value: str) -> str:
        """The value, if this version knows its scheme; ValueError otherwise."""
        if storage.scheme_of(value) is None:
            raise ValueError(f"{value}: must be {storage.examples()}")
        return value


Uri = Annotated[str, StringConstraints(min_length=8, max_length=1024), _KnownScheme()]
"""Where something is. What there is, is in `speechless.contract.storage.SCHEMES`."""


class Reference(ApiModel):
    """Another resource of the same namespace. It may be created later: the one that refers to it waits."""

    name: Name
    """Its name."""


def _choice_rules() -> list[Rule]:
    return [storage.choice_rule()]


class DataSource(contract.DataSource):
    """Data that is read as it is, or a part of a dataset."""

    model_config = rules(_choice_rules)

    uri: Uri = Field(description=f"Where it is: {storage.examples()}.")


class ModelSource(contract.SourceOptions):
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
        Cel(
            rule="!has(self.secretRef) || has(self.uri)",
            message="secretRef goes with uri; what fineTune or quantization made is read as it was written: remove it",
            field_path=".secretRef",
        ),
        Cel(
            rule="(!has(self.include) && !has(self.exclude)) || has(self.uri)",
            message="include and exclude go with uri; what fineTune or quantization made is read whole: remove them",
        ),
        _choice_rules,
    )

    uri: Uri | None = Field(default=None, description=f"Where the model is: {storage.examples()}.")
    fine_tune: Reference | None = None
    """The artifact of a FineTune of this namespace."""
    quantization: Reference | None = None
    """The artifact of a Quantization of this namespace."""


class Output(ApiModel):
    """Where the artifact goes."""

    # The limit is the schema's alone: an object that an earlier version let in is still read.
    uri: Annotated[Uri, Field(json_schema_extra={"maxLength": 512})]
    """The folder under which `<namespace>/<kind>/<name>/<run>/` is made, such as `pvc://<claim>/<path>`."""
    secret_ref: contract.SecretReference | None = None
    """The Secret with what writing there needs, and reading it again."""


# ---------------------------------------------------------------------------------------------------------------- run

_QUEUE = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
"""Of a LocalQueue: it is a label's value on the Job."""
JOB_FREE = ("suspend", "ttlSecondsAfterFinished")


def job_immutable(kind: str) -> Immutable:
    """A job's spec is one run: what it says never changes, but for when it may run and how long it is kept."""
    article = "an" if kind[0] in "AEIOU" else "a"
    return Immutable(
        what_to_do=f"cannot change: {article} {kind} is one run, and its spec is immutable. Create another one with "
        "the new value, or delete this one and create it again",
        free=JOB_FREE,
    )


class JobSpec(ApiModel):
    """What every kind that runs once has."""

    output: Output | None = None
    """Where the artifact goes; without it, the operator's artifact store."""
    suspend: bool = False
    """true: nothing runs, and a running pod is stopped after it has saved what it can. May be changed."""
    active_deadline_seconds: Annotated[int, Field(ge=1, le=31_536_000)] | None = None
    """Seconds after which the run fails, however far it is."""
    backoff_limit: Annotated[int, Field(ge=0, le=100)] = 3
    """How often a run is tried again after a failure that may pass. Bad input and lack of memory are not tried again.
    What is interrupted by the end of its node is not counted."""
    queue_name: Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=_QUEUE)] | None = None
    """The Kueue LocalQueue of this namespace that decides when the run may start; without it, at once."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31_536_000)] | None = None
    """Seconds after its end until this resource is deleted. Its artifact stays. May be changed."""
    pod: PodSettings = PodSettings()
    """How the pod looks."""
