"""FineTune: train a model on a dataset, once."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from speechless.contract import DatasetFormat, Method, Objective
from speechless_operator.api.base import ApiModel, Atomic, Cel, rules
from speechless_operator.api.common import DataSource, JobSpec, ModelSource, job_immutable
from speechless_operator.api.status import JobStatus


class Dataset(DataSource):
    """The rows to train on: a JSON Lines file, or a folder of them."""

    format: DatasetFormat = DatasetFormat.AUTO
    """How a row looks. Auto: told by the first row's keys. Messages: `{"messages": [{"role", "content"}]}`.
    PromptCompletion: `{"prompt", "completion"}`."""
    eval_fraction: Annotated[float, Field(ge=0, lt=1)] = 0
    """The part of the rows that is held out to measure the loss on."""
    max_samples: Annotated[int, Field(ge=1)] | None = None
    """Rows to use, after shuffling; without it, all."""


class Hyperparameters(ApiModel):
    """By the names of Transformers' TrainingArguments."""

    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    """The highest learning rate; without it, 2e-5 for method Full and 2e-4 for LoRA."""
    num_train_epochs: Annotated[float, Field(gt=0, le=1000)] = 3
    """Passes over the data."""
    max_steps: Annotated[int, Field(ge=1)] | None = None
    """Optimizer steps, instead of numTrainEpochs."""
    per_device_train_batch_size: Annotated[int, Field(ge=1, le=4096)] = 4
    """Rows that a device takes at once."""
    gradient_accumulation_steps: Annotated[int, Field(ge=1, le=65536)] = 1
    """Batches whose gradients are added up before a step."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps in which the learning rate rises from 0."""
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "cosine"
    """How the learning rate falls."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0
    """Weight decay of AdamW."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1
    """Gradients are scaled down to this norm."""
    max_length: Annotated[int, Field(ge=8)] = 1024
    """Tokens of a row; longer rows are cut, and counted in the log."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    """Of everything that is drawn by chance."""


class Lora(ApiModel):
    """Low-rank adapters (Hu et al., 2021, arXiv:2106.09685)."""

    r: Annotated[int, Field(ge=1, le=1024)] = 16
    """Rank."""
    alpha: Annotated[int, Field(ge=1, le=4096)] = 32
    """Scale: the adapter counts alpha / r."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0
    """Part of the adapter's input that is left out while training."""
    target_modules: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=128)]], Atomic(), Field(max_length=64)
    ] = []
    """Names of the layers; without any, every linear layer but the output's."""


class Checkpoints(ApiModel):
    """Written to the store while training, so that another attempt goes on from there."""

    every_steps: Annotated[int, Field(ge=0)] = 0
    """0: only when the pod is stopped."""
    keep: Annotated[int, Field(ge=1, le=100)] = 2
    """How many are kept."""


class FineTuneSpec(JobSpec):
    """What to train, on what, and how. All but suspend and ttlSecondsAfterFinished is fixed once created."""

    model_config = rules(
        Cel(
            rule="!has(self.lora) || self.method == 'LoRA'",
            message="lora goes with method LoRA: remove lora, or set method: LoRA",
            field_path=".lora",
        ),
        Cel(
            rule="self.method == 'LoRA' || self.merge",
            message="merge: false publishes an adapter, and method Full makes none: remove merge, or set method: LoRA",
            field_path=".merge",
        ),
        Cel(
            rule="!has(self.model.quantization)",
            message="a quantized model cannot be trained: name the model that it was made from",
            field_path=".model",
        ),
        immutable=job_immutable("FineTune"),
    )

    model: ModelSource
    """The model to start from."""
    dataset: Dataset
    """The rows to train on."""
    method: Method = Method.LORA
    """LoRA: low-rank adapters. Full: every weight."""
    objective: Objective = Objective.SFT
    """SFT: supervised fine-tuning, the loss on what the model should answer."""
    hyperparameters: Hyperparameters = Hyperparameters()
    """How to train."""
    lora: Lora | None = None
    """The adapters' shape, for method LoRA."""
    checkpoints: Checkpoints = Checkpoints()
    """What is saved on the way."""
    merge: bool = True
    """Method LoRA: true publishes the merged model, false the adapter alone."""


class FineTuneStatus(JobStatus):
    """How the training goes, and what came out."""
