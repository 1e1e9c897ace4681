"""What a training run is given and what it gives back, as JSON between two processes; no torch."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from speechless.contract import (
    METHODS,
    Experts,
    Hyperparameters,
    Lora,
    Method,
    Metric,
    Objective,
    Precision,
    Qlora,
)
from speechless.contract.objectives import OBJECTIVES
from speechless.contract.tracking import Tracker
from speechless.finetune import tokenizer

Progress = Callable[[int, int, Mapping[str, float]], None]
"""(optimizer step, steps in all, latest values: loss, learning_rate, grad_norm, epoch)."""
Stopping = Callable[[], bool]
"""Whether the run should save and end."""


class _Document(BaseModel):
    """Written by one process of this version and read by another."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Counts(_Document):
    """What became of the rows of a split."""

    rows: int = 0
    tokens: int = 0
    learned: int = 0
    """Tokens that are learned."""
    cut: int = 0
    """Rows longer than the limit: their end was cut off."""
    removed: int = 0
    """Rows longer than the limit, left out where such rows are not cut."""
    dropped: int = 0
    """Rows with nothing left to learn after the cut."""
    conversations: int = 0
    """Rows that went through the model's chat template."""
    bad: int = 0
    """Rows that the model's chat template refuses, left out where bad rows are skipped."""

    def __add__(self, other: "Counts") -> "Counts":
        """Both together."""
        return Counts(**{name: getattr(self, name) + getattr(other, name) for name in Counts.model_fields})


class Rows(_Document):
    """A dataset as the numbers that a recipe makes of it, on disk."""

    train: Path
    """An Arrow stream file: a list of int32 a column."""
    heldout: Path | None
    counts: Counts
    """Of the rows to train on."""
    bad: int = 0
    """Rows of the dataset that were left out because they do not fit its format."""


class Reporting(_Document):
    """Who gets what is logged."""

    trackers: tuple[Tracker, ...] = ()
    name: str = ""
    """What they call the run; empty: as they like."""
    folder: Path | None = None
    """Where their files may lie that stay; None: nowhere but where their own variables say."""
    scratch: Path = Path()
    """Where their files may lie that do not stay."""


class Predict(_Document):
    """Answers to the rows held out, made after the training."""

    max_new_tokens: int = 256
    """Of an answer, at most."""
    temperature: float = 0
    """0: the likeliest token, always."""
    top_p: float = 1
    """The likeliest tokens of this probability together are drawn from."""


class Extras(_Document):
    """What a command line can say beside the settings of a FineTune."""

    stop_after_epochs: float | None = None
    """The run ends after so many epochs, while the learning rate is planned over all of them."""
    max_memory_mb: int | None = None
    """Megabytes that a GPU gives at most."""
    max_shard_size: str = "5GB"
    """The largest file of a whole model's weights, with its unit (GB, MB, KB, GiB, MiB or KiB)."""
    predict: Predict | None = None
    """How the rows held out are answered; None: they are not."""
    trainer_file: Path | None = None
    """A Python file of the user's with a trainer class."""
    trainer_name: str = ""
    """The class in it."""
    trainer_sha256: str = ""
    """Of the file, hexadecimal."""
    fixed_tags: tuple[str, ...] = ()
    """Texts whose tokens weigh otherwise in the loss, where they are learned."""
    fixed_tag_weight: float = 2.0
    """The weight of their tokens."""
    allowed_token_weight: float = 1.0
    """The weight of all other tokens that are learned, where there are tags."""

    @property
    def deciding(self) -> dict[str, JsonValue]:
        """Those that decide the result and are set."""
        told = self.model_dump(mode="json", exclude_defaults=True)
        return {name: value for name, value in told.items() if name in _DECIDE}


_DECIDE = (
    *("stop_after_epochs", "trainer_name", "trainer_sha256", "max_shard_size", "predict"),
    *("fixed_tags", "fixed_tag_weight", "allowed_token_weight"),
)


class Job(_Document):
    """One run."""

    model: Path
    """A Hugging Face folder."""
    tokenizer: Path | None = None
    """The folder of the tokenizer that the model gets; None: the model's own."""
    rows: Rows
    method: Method
    hyperparameters: Hyperparameters
    out: Path
    """A folder that does not exist or is empty: the model or the adapter."""
    checkpoints: Path
    """The folder of `checkpoint-<step>`."""
    resume_from: Path | None = None
    """A whole checkpoint of this run in that folder; None: from the beginning."""
    objective: Objective = Objective.SFT
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """Those of the objective, by the fields of its settings."""
    lora: Lora = Lora()
    experts: Experts | None = None
    """Experts instead of the adapters of `lora`."""
    qlora: Qlora = Qlora()
    every_steps: int = 0
    """Steps between checkpoints; 0: only when stopped, and at the end."""
    every_epoch: bool = False
    """A checkpoint after every epoch, too."""
    logging_steps: int = 1
    precision: Precision = Precision.AUTO
    base_name: str = ""
    """What an adapter calls its base model."""
    extras: Extras = Extras()
    tracking: Reporting = Reporting()

    @property
    def new_tokens(self) -> dict[int, tuple[int, ...]]:
        """Tokens that the model does not have: id to its own tokens of the same text."""
        return tokenizer.added(self.model, self.tokenizer) if self.tokenizer else {}

    @property
    def attention(self) -> str | None:
        """How attention is computed, by Transformers' name; None: as it chooses."""
        return self.hyperparameters.attn_implementation

    @property
    def held(self) -> Qlora | None:
        """How the weights that are not trained are held in fewer bits; None: they are as they come."""
        return self.qlora if METHODS[self.method].quantized else None

    @property
    def learning_rate(self) -> float:
        """The one asked for, or what is usual for objective and method."""
        return self.hyperparameters.learning_rate or OBJECTIVES[self.objective].learning_rate.of(self.method)


class Point(_Document):
    """The losses that were logged at a step."""

    step: int
    loss: float | None = None
    eval_loss: float | None = None
    """On held-out rows."""


class Outcome(_Document):
    """How it went."""

    steps: int
    metrics: tuple[Metric, ...]
    resumed_from: int
    """The step of the checkpoint it was taken up from; 0: from the beginning."""
    settings: dict[str, JsonValue]
    """What the run chose itself: device, precision, learning rate, target modules."""
    curve: tuple[Point, ...] = ()
    """The losses over the steps, a few hundred points at most."""


class Starter(Protocol):
    """Who started the training: it shows progress, keeps checkpoints, and may ask the run to end."""

    def progress(self, step: int, total: int, values: Mapping[str, float]) -> None:
        """Show how far the run is."""

    def stopping(self) -> bool:
        """Whether the run should save and end."""

    def settled(self) -> None:
        """All that the run needs was read, and the first step comes next; returns when the starter knows."""

    def keep(self, step: int, best: int | None) -> None:
        """Declare `checkpoint-<step>` whole, all of whose files are written; returns when it is kept.

        `best`: a step whose checkpoint is needed at the end.
        """


def never_at_its_peak(given: Hyperparameters, warmup: int, steps: int) -> str:
    """What is to be said of a run that ends while its learning rate still rises; empty: nothing.

    >>> never_at_its_peak(Hyperparameters(), 20, 3)
    'the learning rate rises for 20 steps, and the run has 3: it learns little (warmup_steps)'
    """
    if warmup < steps or warmup == 0 or given.lr_scheduler_type == "constant":
        return ""
    return f"the learning rate rises for {warmup} steps, and the run has {steps}: it learns little (warmup_steps)"


def fingerprint(identity: Mapping[str, JsonValue]) -> str:
    """SHA-256, hexadecimal, of what makes a run another run: a checkpoint of another one is not taken up."""
    return hashlib.sha256(json.dumps(dict(identity), sort_keys=True).encode()).hexdigest()
