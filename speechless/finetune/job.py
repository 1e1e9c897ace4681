"""What a training run is given and what it gives back, as JSON between two processes; no torch."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from speechless.contract import Hyperparameters, Lora, Method, Metric, Objective, Precision
from speechless.contract.objectives import OBJECTIVES
from speechless.contract.tracking import Tracker

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


class Extras(_Document):
    """What a command line can say beside the settings of a FineTune."""

    stop_after_epochs: float | None = None
    """The run ends after so many epochs, while the learning rate is planned over all of them."""
    max_memory_mb: int | None = None
    """Megabytes that a GPU gives at most."""

    @property
    def deciding(self) -> dict[str, JsonValue]:
        """Those that decide the result and are set."""
        told = self.model_dump(exclude_defaults=True)
        return {name: value for name, value in told.items() if name in _DECIDE}


_DECIDE = ("stop_after_epochs",)


class Job(_Document):
    """One run."""

    model: Path
    """A Hugging Face folder."""
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
    def attention(self) -> str | None:
        """How attention is computed, by Transformers' name; None: as it chooses."""
        return self.hyperparameters.attn_implementation

    @property
    def learning_rate(self) -> float:
        """The one asked for, or what is usual for objective and method."""
        return self.hyperparameters.learning_rate or OBJECTIVES[self.objective].learning_rate[self.method]


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

    def keep(self, step: int) -> None:
        """Declare `checkpoint-<step>` whole, all of whose files are written; returns when it is kept."""


def fingerprint(identity: Mapping[str, JsonValue]) -> str:
    """SHA-256, hexadecimal, of what makes a run another run: a checkpoint of another one is not taken up."""
    return hashlib.sha256(json.dumps(dict(identity), sort_keys=True).encode()).hexdigest()
