"""Which step of a run has the least loss on held-out rows: told by the trainer's log, which each checkpoint has.

So a run that goes on knows it without a file of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

History = Sequence[Mapping[str, Any]]
"""What Transformers' trainer logged (`TrainerState.log_history`)."""
STATE = "trainer_state.json"
"""Where a checkpoint has it."""


class Best(NamedTuple):
    """The best of all evaluations."""

    step: int
    loss: float
    after: int
    """Evaluations since then."""


def best_of(history: History) -> Best | None:
    """The evaluation with the least loss, the first one of several; None: there was none.

    >>> best_of([{"step": 1, "loss": 1.5}, {"step": 1, "eval_loss": 2.0}, {"step": 2, "eval_loss": 2.5}])
    Best(step=1, loss=2.0, after=1)
    """
    found = [one for one in history if "eval_loss" in one]
    losses = [float(one["eval_loss"]) for one in found]
    if not losses:
        return None
    place = losses.index(min(losses))
    return Best(int(found[place]["step"]), losses[place], len(losses) - 1 - place)


def measured(history: History, step: int) -> bool:
    """Whether the loss on held-out rows is known at a step."""
    return any("eval_loss" in one and one["step"] == step for one in history)


def step_of(checkpoint: Path) -> int | None:
    """The best step by a checkpoint of Transformers' trainer; None: nothing was measured before it."""
    found = best_of(json.loads((checkpoint / STATE).read_text(encoding="utf-8"))["log_history"])
    return found.step if found else None
