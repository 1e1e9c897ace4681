"""What a fine-tuning can be told: the settings of a FineTune, and the spec of the stage."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from speechless.contract.model import ATOMIC, ContractModel
from speechless.contract.stages import DataSource, Publishing, Source, StageName


class DatasetFormat(StrEnum):
    """How a row of the training data looks."""

    AUTO = "Auto"
    """By the first row's keys."""
    MESSAGES = "Messages"
    """`{"messages": [{"role", "content"}, ...]}`, with `tools` and `tool_calls` if at all"""
    CONVERSATIONS = "Conversations"
    """`{"conversations": [{"from", "value"}, ...]}`, also ShareGPT's"""
    ALPACA = "Alpaca"
    """`{"instruction", "input", "output"}`"""
    INSTRUCTION = "Instruction"
    """`{"instruction", "input", "response"}`"""
    PROMPT_COMPLETION = "PromptCompletion"
    """`{"prompt": str, "completion": str}`"""
    TEXT = "Text"
    """`{"text": str}`"""
    PREFERENCE = "Preference"
    """`{"prompt", "chosen", "rejected"}`"""
    PROMPT = "Prompt"
    """`{"prompt"}` and what an answer is judged by"""
    CHIP2 = "Chip2"
    """`{"text": "<human>: ... <bot>: ..."}`"""
    OASST1 = "Oasst1"
    """`{"text": "### Human: ...### Assistant: ..."}`"""
    HH_RLHF = "HhRlhf"
    """`{"chosen": "Human: ... Assistant: ..."}`: the better conversation alone"""


class BadRows(StrEnum):
    """What becomes of a row that does not fit its format."""

    STOP = "Stop"
    """Nothing is trained; the error names the first and counts the others."""
    SKIP = "Skip"
    """It is left out and counted; the first are named in the log."""


class DatasetSource(DataSource):
    """The rows to train on: a file (JSON Lines, JSON, CSV, TSV or Parquet), or a folder of them."""

    format: DatasetFormat = DatasetFormat.AUTO
    """How a row looks. Auto: told by the first row's keys. Messages: `{"messages": [{"role", "content"}]}`.
    Conversations: `{"conversations": [{"from", "value"}]}`. Alpaca: `{"instruction", "input", "output"}`. Instruction:
    the same with `response`. PromptCompletion: `{"prompt", "completion"}`. Text: `{"text"}`. Chip2, Oasst1, HhRlhf:
    texts with marks. Preference and Prompt are for objectives that are not offered yet."""
    bad_rows: BadRows = BadRows.STOP
    """What becomes of a row that does not fit its format. Stop: nothing is trained, and the error names the first.
    Skip: it is left out, and counted."""
    eval_fraction: Annotated[float, Field(ge=0, lt=1)] = 0
    """The part of the rows that is held out to measure the loss on; of each `category`, where rows have one."""
    max_samples: Annotated[int, Field(ge=1)] | None = None
    """Rows to use, after shuffling; without it, all."""


class Method(StrEnum):
    """What is trained."""

    FULL = "Full"
    LORA = "LoRA"


class Objective(StrEnum):
    """What it is trained for."""

    SFT = "SFT"


class Hyperparameters(ContractModel):
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
    """The seed of all random numbers."""


class Lora(ContractModel):
    """Low-rank adapters (Hu et al., 2021, arXiv:2106.09685)."""

    r: Annotated[int, Field(ge=1, le=1024)] = 16
    """Rank."""
    alpha: Annotated[int, Field(ge=1, le=4096)] = 32
    """Scale: the adapter is multiplied by alpha / r."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0
    """Part of the adapter's input that is left out while training."""
    target_modules: Annotated[
        tuple[Annotated[str, StringConstraints(min_length=1, max_length=128)], ...],
        Field(max_length=256),
        ATOMIC,
    ] = ()
    """Names of the layers; without any, every linear layer but the output's."""


class Checkpoints(ContractModel):
    """Written to the store while training, so that another attempt goes on from there."""

    every_steps: Annotated[int, Field(ge=0)] = 0
    """Optimizer steps between two checkpoints. 0: only when the pod is stopped."""
    keep: Annotated[int, Field(ge=1, le=100)] = 2
    """How many checkpoints are kept."""


class FineTuneSettings(ContractModel):
    """How to train, wherever that is."""

    method: Method = Method.LORA
    """LoRA: low-rank adapters. Full: every weight."""
    objective: Objective = Objective.SFT
    """SFT: supervised fine-tuning, the loss on what the model should answer."""
    hyperparameters: Hyperparameters = Hyperparameters()
    """How to train."""
    lora: Lora | None = None
    """The adapters' shape, for method LoRA."""
    checkpoints: Checkpoints = Checkpoints()
    """Checkpoints during the training."""
    merge: bool = True
    """Method LoRA: true publishes the merged model, false the adapter alone."""


class FineTuneSpec(FineTuneSettings, Publishing):
    """Train a model on a dataset."""

    stage: Literal[StageName.FINETUNE] = StageName.FINETUNE
    model: Source
    dataset: DatasetSource

    @model_validator(mode="after")
    def _fits(self) -> FineTuneSpec:
        if self.method is Method.FULL and self.lora is not None:
            raise ValueError("lora is set, but method is Full: remove lora, or use method LoRA")
        return self
