"""What a stage is told to do: /etc/speechless/stage.json.

Everything a user may set reaches a stage as a value in this file, never as part of a command line or a shell's text.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError, model_validator

from speechless.contract.artifact import Digest
from speechless.contract.model import ContractModel

Uri = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+://.+$", max_length=2048)]


class StageName(StrEnum):
    """The stages there are."""

    FETCH = "fetch"
    FINETUNE = "finetune"
    EVALUATE = "evaluate"
    QUANTIZE = "quantize"
    SERVE = "serve"


class RunIdentity(ContractModel):
    """Whose run this is; recorded in the artifact, never used as a path."""

    namespace: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    spec_hash: str = ""


class Source(ContractModel):
    """An input: where it is and, when it is known, what it must digest to.

    `file:///path` and `pvc://claim/path`. A folder with a manifest is verified against it; one without is digested as
    it is read, and the digest recorded.
    """

    uri: Uri
    digest: Digest | None = None
    wait_seconds: int = Field(default=0, ge=0, le=86400)
    """How long the stage waits for it to appear. For what another program is still writing; it must appear whole, by a
    rename."""


class _Stage(ContractModel):
    version: Literal["v1"] = "v1"
    run: RunIdentity = RunIdentity()
    mounts: dict[str, str] = {}
    """Claim name to the folder where it is mounted: how `pvc://claim/path` becomes a path."""
    work_dir: str = "/work"
    """Scratch space of this attempt."""


class _Publishing(_Stage):
    output: Uri
    """Where the artifact goes; a folder that is made by the stage."""


class FetchSpec(_Publishing):
    """Copy a source into the store as an artifact."""

    stage: Literal[StageName.FETCH] = StageName.FETCH
    source: Source


# ---------------------------------------------------------------------------------------------------------- fine-tune


class DatasetFormat(StrEnum):
    """How a row of the training data looks."""

    AUTO = "Auto"
    """By the first row's keys."""
    MESSAGES = "Messages"
    """`{"messages": [{"role", "content"}, ...]}`"""
    PROMPT_COMPLETION = "PromptCompletion"
    """`{"prompt": str, "completion": str}`"""


class DatasetSource(Source):
    """Training rows: a JSON Lines file, or a folder of them."""

    format: DatasetFormat = DatasetFormat.AUTO
    eval_fraction: float = Field(default=0, ge=0, lt=1)
    """Part of the rows held out to measure the loss on."""
    max_samples: int | None = Field(default=None, ge=1)
    """Rows used, after shuffling; None: all."""


class Method(StrEnum):
    """What is trained."""

    FULL = "Full"
    LORA = "LoRA"


class Objective(StrEnum):
    """What it is trained for."""

    SFT = "SFT"


class Hyperparameters(ContractModel):
    """By the names that Transformers' TrainingArguments use."""

    learning_rate: float | None = Field(default=None, gt=0, le=1)
    """None: 2e-5 for Full, 2e-4 for LoRA."""
    num_train_epochs: float = Field(default=3, gt=0, le=1000)
    max_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps; overrides epochs."""
    per_device_train_batch_size: int = Field(default=4, ge=1, le=4096)
    gradient_accumulation_steps: int = Field(default=1, ge=1, le=65536)
    warmup_steps: int = Field(default=0, ge=0)
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "cosine"
    weight_decay: float = Field(default=0, ge=0, le=1)
    max_grad_norm: float = Field(default=1, gt=0)
    max_length: int = Field(default=1024, ge=8)
    """Tokens of a row; longer ones are cut, and counted in the log."""
    seed: int = Field(default=42, ge=0, lt=2**32)


class Lora(ContractModel):
    """Low-rank adapters (Hu et al., 2021, arXiv:2106.09685)."""

    r: int = Field(default=16, ge=1, le=1024)
    alpha: int = Field(default=32, ge=1, le=4096)
    dropout: float = Field(default=0, ge=0, lt=1)
    target_modules: tuple[str, ...] = ()
    """Names of the layers; empty: every linear layer but the output's."""


class Checkpoints(ContractModel):
    """Written to the store while training, so that a new attempt can go on."""

    every_steps: int = Field(default=0, ge=0)
    """0: only when interrupted."""
    keep: int = Field(default=2, ge=1, le=100)


class FineTuneSpec(_Publishing):
    """Train a model on a dataset."""

    stage: Literal[StageName.FINETUNE] = StageName.FINETUNE
    model: Source
    dataset: DatasetSource
    method: Method = Method.LORA
    objective: Objective = Objective.SFT
    hyperparameters: Hyperparameters = Hyperparameters()
    lora: Lora | None = None
    checkpoints: Checkpoints = Checkpoints()
    merge: bool = True
    """LoRA: publish the merged model; false: the adapter alone."""

    @model_validator(mode="after")
    def _fits(self) -> FineTuneSpec:
        if self.method is Method.FULL and self.lora is not None:
            raise ValueError("lora is set, but method is Full: remove lora, or use method LoRA")
        return self


# ----------------------------------------------------------------------------------------------------------- evaluate


class SuiteType(StrEnum):
    """The kinds of tests there are."""

    HUMANEVAL = "HumanEval"
    """Code generation, scored by running unit tests (Chen et al., 2021, arXiv:2107.03374)."""
    PERPLEXITY = "Perplexity"
    """exp of the mean negative log-likelihood a token over a text."""


class Suite(ContractModel):
    """One test with its data and options."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
    type: SuiteType
    data: Source
    """HumanEval: problems as in openai/human-eval (JSON Lines, also .gz). Perplexity: a text file."""
    samples_per_task: int = Field(default=1, ge=1, le=1000)
    k: tuple[int, ...] = (1,)
    """The k of pass@k; none may exceed samplesPerTask."""
    temperature: float = Field(default=0, ge=0, le=2)
    """0: greedy."""
    max_tokens: int = Field(default=512, ge=1)
    """Tokens generated a sample."""
    timeout_seconds: float = Field(default=10, gt=0, le=600)
    """For running one sample's tests."""
    limit: int | None = Field(default=None, ge=1)
    """Only the first so many tasks."""
    seed: int = Field(default=42, ge=0, lt=2**32)

    @model_validator(mode="after")
    def _fits(self) -> Suite:
        if any(k < 1 or k > self.samples_per_task for k in self.k):
            raise ValueError(
                f"k {list(self.k)} must lie between 1 and samplesPerTask ({self.samples_per_task})"
            )
        if self.samples_per_task > 1 and self.temperature == 0:
            raise ValueError(
                "samplesPerTask above 1 needs a temperature above 0: greedy samples are all the same"
            )
        return self


class EvaluateSpec(_Publishing):
    """Score a model."""

    stage: Literal[StageName.EVALUATE] = StageName.EVALUATE
    model: Source
    suites: tuple[Suite, ...] = Field(min_length=1, max_length=16)
    allow_code_execution: bool = False
    """Suites that run what the model wrote are refused without it."""


# ----------------------------------------------------------------------------------------------------------- quantize


class GgufType(StrEnum):
    """llama.cpp's file types."""

    F16 = "F16"
    Q8_0 = "Q8_0"
    Q4_K_M = "Q4_K_M"


class Verify(ContractModel):
    """Measure what the smaller model lost."""

    text: Source
    """A text file to measure perplexity on."""
    max_perplexity_increase_percent: float | None = Field(default=None, ge=0)
    """The quantization fails above it; None: measured only."""


class QuantizeSpec(_Publishing):
    """Make a model smaller."""

    stage: Literal[StageName.QUANTIZE] = StageName.QUANTIZE
    model: Source
    format: Literal["GGUF"] = "GGUF"
    type: GgufType = GgufType.Q4_K_M
    verify: Verify | None = None


# -------------------------------------------------------------------------------------------------------------- serve


class ServeEngine(StrEnum):
    """What answers."""

    LLAMA_CPP = "LlamaCpp"
    TRANSFORMERS = "Transformers"


class ServeSpec(_Stage):
    """Verify a model's digest, then serve it with OpenAI-compatible routes."""

    stage: Literal[StageName.SERVE] = StageName.SERVE
    model: Source
    model_name: str = Field(min_length=1, max_length=253)
    """The name that clients ask for."""
    engine: ServeEngine = ServeEngine.LLAMA_CPP
    host: str = "0.0.0.0"
    port: int = Field(default=8080, ge=1, le=65535)
    engine_args: tuple[str, ...] = ()
    """Handed to the engine one by one, after its own."""
    context_length: int | None = Field(default=None, ge=8)
    parallel: int = Field(default=1, ge=1, le=1024)
    """Requests answered at the same time."""


StageSpec = Annotated[
    FetchSpec | FineTuneSpec | EvaluateSpec | QuantizeSpec | ServeSpec, Field(discriminator="stage")
]
_ADAPTER: TypeAdapter[FetchSpec | FineTuneSpec | EvaluateSpec | QuantizeSpec | ServeSpec] = TypeAdapter(
    StageSpec
)


def parse_spec(text: str | bytes) -> FetchSpec | FineTuneSpec | EvaluateSpec | QuantizeSpec | ServeSpec:
    """A stage spec from JSON; ValueError with `field.path: what is wrong`, a line each, when it is not one."""
    try:
        return _ADAPTER.validate_json(text)
    except ValidationError as problem:
        lines = [
            f"{'.'.join(map(str, e['loc'])) or 'spec'}: {e['msg']}" for e in problem.errors(include_url=False)
        ]
        raise ValueError("\n".join(lines)) from None
