"""What every kind reports."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from speechless.contract import Format
from speechless.contract.stages import Patterns
from speechless_operator.api.base import ApiModel, ListMap

Text = Annotated[str, StringConstraints(max_length=4096)]
Line = Annotated[str, StringConstraints(max_length=1024)]
Word = Annotated[str, StringConstraints(max_length=256)]
Time = Annotated[str, StringConstraints(max_length=64), Field(json_schema_extra={"format": "date-time"})]


class Condition(ApiModel):
    """One aspect of the state, as `metav1.Condition`."""

    type: Annotated[str, StringConstraints(max_length=64)]
    """Its name."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    """Why, in one word."""
    message: Text = ""
    """Why, for people."""
    observed_generation: int = 0
    """The generation of the spec that this is about."""
    last_transition_time: Time
    """When status last changed."""


class InputStatus(ApiModel):
    """One thing that went in."""

    name: Word
    """Its role: model, dataset, suite/<name>, verify."""
    kind: Word | None = None
    """FineTune or Quantization, if it came from one."""
    resource: Word | None = None
    """That resource's name."""
    uid: Word | None = None
    """That resource's uid."""
    generation: int | None = None
    """That resource's generation."""
    uri: Line
    """Where it is."""
    digest: Word | None = None
    """Its digest: known in advance for an artifact, computed by the run for a plain uri."""
    format: Word | None = None
    """What kind of files it has, if it is an artifact of another resource."""
    architecture: Word | None = None
    """What kind of model it is, if it is an artifact of another resource."""
    quantization: Word | None = None
    """The method by which its weights were quantized, if it is an artifact of another resource."""
    size_bytes: int | None = None
    """Bytes of all its files, if it is an artifact of another resource."""
    wait_seconds: int | None = None
    """How long the pod waits for it to appear."""
    secret: Word | None = None
    """The Secret that reading it needs."""
    include: Patterns | None = None
    """Patterns of the files that are read; without any, all."""
    exclude: Patterns | None = None
    """Patterns of the files that are left out."""
    config: Word | None = None
    """Which configuration of a dataset is read."""
    split: Word | None = None
    """Which split of it."""
    revision: Word | None = None
    """What the place calls the state that was read, such as a hub's commit."""


class RunStatus(ApiModel):
    """The run's identity, written before its first child. The same content has the same name, whoever creates it."""

    name: Word
    """A hash of what decides the result: the settings, the inputs, and an image or environment set by the user."""
    attempt: int = 1
    """Which of the run's Jobs this is."""
    output: Line | None = None
    """Where the artifact goes; named by the run, so that the same run finds it."""
    inputs: Annotated[list[InputStatus], ListMap(), Field(max_length=32)] = []
    """What goes in, as it was resolved; after the end see status.inputs."""
    suspended: bool | None = None
    """Whether the operator has suspended the run's Job. It does not change what others have suspended."""
    lost: int | None = None
    """How many results were lost with their pods."""
    output_secret: Word | None = None
    """The Secret that writing the output needs."""


class ModelStatus(ApiModel):
    """A model, in short. Its manifest says more."""

    architecture: Word | None = None
    """Such as LlamaForCausalLM; of a GGUF file, such as llama."""
    parameters: Annotated[int, Field(ge=1)] | None = None
    """How many weights it has."""
    quantization: Word | None = None
    """The method by which its weights were quantized, such as gguf or awq. Missing: they were not."""


class ArtifactStatus(ApiModel):
    """The result."""

    uri: Line
    """Where it is."""
    digest: Word
    """sha256 of its list of files: what consumers verify."""
    size_bytes: int = 0
    """Bytes of all its files."""
    format: Format
    """What kind of files it has."""
    model: ModelStatus | None = None
    """What model it holds, if it holds one and its files say so."""


class MetricStatus(ApiModel):
    """One number."""

    name: Word
    """Such as humaneval/pass@1 or perplexity/after."""
    value: float
    """Its value."""


class ProgressStatus(ApiModel):
    """How far the run is; written while it runs, at most every 10 seconds."""

    phase: Word | None = None
    """Fetching, Working, Publishing or Done."""
    percent: int | None = None
    """0 to 100."""
    step: int | None = None
    """Steps done: optimizer steps, samples, tensors."""
    total_steps: int | None = None
    """Steps to do; absent while unknown."""
    remaining_seconds: int | None = None
    """An estimate; absent while unknown."""
    message: Word | None = None
    """What it does now."""
    summary: Word | None = None
    """All of that in one line, for `kubectl get`."""
    metrics: Annotated[list[MetricStatus], ListMap(), Field(max_length=32)] = []
    """The latest values, such as loss."""


class FailureStatus(ApiModel):
    """What was wrong, where, and what to do."""

    reason: Word
    """In one word, from the list of reasons."""
    message: Text
    """For people; names the file and line, field or object at fault."""
    hint: Line | None = None
    """What to do about it."""
    exit_code: int | None = None
    """The container's exit code."""
    pod: Word | None = None
    """The pod that failed."""
    log_tail: Annotated[str, StringConstraints(max_length=2048)] | None = None
    """The end of its log."""


class Provenance(ApiModel):
    """What is needed to reproduce the result."""

    image_digest: Line | None = None
    """The image that ran, as the node knows it."""
    versions: Annotated[dict[str, Word], Field(max_length=64)] = {}
    """Versions of the libraries that did the work."""
    seed: int | None = None
    """The seed of all random numbers."""
    spec_hash: Word | None = None
    """A hash of what decides the result: the run's name."""
    operator_version: Word | None = None
    """The operator that started the run."""
    image_overridden: bool | None = None
    """Whether spec.pod.image took the place of the operator's image."""
    environment_overridden: bool | None = None
    """Whether spec.pod sets variables of the container."""


class BaseStatus(ApiModel):
    """What every kind reports."""

    observed_generation: int | None = None
    """The generation of the spec that this status is about."""
    phase: Word | None = None
    """One word for people. Programs should read the conditions."""
    conditions: Annotated[list[Condition], ListMap("type"), Field(max_length=16)] = []
    """The state, aspect by aspect. Reconciling and Stalled are there only while they hold."""
    model: Line | None = None
    """Where the model comes from, for people."""
    inputs: Annotated[list[InputStatus], ListMap(), Field(max_length=32)] = []
    """What went in, with digests."""
    failure: FailureStatus | None = None
    """What is wrong; absent if nothing is."""


class JobStatus(BaseStatus):
    """What every kind that runs once reports."""

    artifact: ArtifactStatus | None = None
    """The result."""
    metrics: Annotated[list[MetricStatus], ListMap(), Field(max_length=64)] = []
    """What the run measured; everything is in the artifact."""
    progress: ProgressStatus | None = None
    """How far the run is."""
    run: RunStatus | None = None
    """The run's identity."""
    job: Word | None = None
    """The name of the Job. It is deleted when the run has ended."""
    start_time: Time | None = None
    """When the Job began."""
    completion_time: Time | None = None
    """When it ended, successfully or not."""
    provenance: Provenance | None = None
    """What is needed to reproduce the result."""
