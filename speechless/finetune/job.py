"""What a training run is given and what it gives back; no torch."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, JsonValue

from speechless.contract import Hyperparameters, Lora, Method, Metric, Objective
from speechless.contract.objectives import OBJECTIVES
from speechless.data import Survey
from speechless.store import Checkpoints

Progress = Callable[[int, int, Mapping[str, float]], None]
"""(optimizer step, steps in all, latest values: loss, learning_rate, grad_norm, epoch)."""
Stopping = Callable[[], bool]
"""Whether the run should save and end."""


class Precision(StrEnum):
    """How the model is held and computed with while it is trained."""

    AUTO = "auto"
    """16 on a GPU that computes in bfloat16, else 32."""
    BF16 = "16"
    """LoRA: the frozen model in bfloat16, the adapters in float32. Full: float32 weights, bfloat16 arithmetic."""
    FP32 = "32"


@dataclass(frozen=True)
class Job:
    """One run."""

    model: Path
    """A Hugging Face folder."""
    data: Survey
    method: Method
    hyperparameters: Hyperparameters
    out: Path
    """A folder that does not exist or is empty: the model or the adapter."""
    checkpoints: Checkpoints
    scratch: Path
    """A folder for what is not kept."""
    objective: Objective = Objective.SFT
    options: BaseModel | None = None
    """Those of the objective, such as `contract.Dpo`; None: its defaults."""
    lora: Lora = field(default_factory=Lora)
    every_steps: int = 0
    """Steps between checkpoints; 0: only when stopped."""
    keep: int = 2
    """Checkpoints kept."""
    logging_steps: int = 1
    eval_steps: int | None = None
    """Steps between evaluations on the held-out rows; None: after every epoch."""
    precision: Precision = Precision.AUTO
    base_name: str = ""
    """What an adapter calls its base model."""
    identity: Mapping[str, JsonValue] = field(default_factory=dict)
    """What makes this run another run: a checkpoint of other settings or data is not taken up."""

    @property
    def learning_rate(self) -> float:
        """The one asked for, or what is usual for objective and method."""
        return self.hyperparameters.learning_rate or OBJECTIVES[self.objective].learning_rate[self.method]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of `identity`, hexadecimal."""
        return hashlib.sha256(json.dumps(dict(self.identity), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Outcome:
    """How it went."""

    steps: int
    metrics: tuple[Metric, ...]
    resumed_from: int
    """The step of the checkpoint it was taken up from; 0: from the beginning."""
    settings: Mapping[str, JsonValue]
    """What the run chose itself: device, precision, learning rate, target modules."""
