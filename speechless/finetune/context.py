"""What a model's own configuration says of positions, and what a command line says of it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechless.contract import FailureReason, Hyperparameters
from speechless.errors import StageError
from speechless.models import context_of, positions_are_a_table

log = logging.getLogger(__name__)


def configuration(folder: Path) -> dict[str, Any]:
    """`config.json` of a model's folder, of its text part where it has several; StageError(MODEL_INVALID) if none."""
    try:
        found = json.loads((folder / "config.json").read_bytes())
        config = found.get("text_config") or found
        return dict(config)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        what = f"{folder.name}: config.json cannot be read: this is no Hugging Face model folder"
        hint = "name the folder that holds config.json"
        raise StageError(FailureReason.MODEL_INVALID, what, hint) from error


def check(folder: Path, said: Mapping[str, float]) -> None:
    """StageError(INVALID_SPEC) where something else is said than the model has.

    Earlier versions wrote what was said over the model's own value, and a model read positions that it had not learned.
    """
    if not said:
        return
    config = configuration(folder)
    own = {"rope_theta": _theta(config), "sliding_window": _window(config)}
    for name, value in said.items():
        if own[name] != value:
            has = "none" if own[name] is None else f"{own[name]:g}"
            what = f"--{name} {value:g}: the model's own is {has}, and another one is not offered"
            raise StageError(
                FailureReason.INVALID_SPEC, what, f"leave out --{name} ({name.upper()} in task.env)"
            )


def limited(folder: Path, hyperparameters: Hyperparameters) -> Hyperparameters:
    """The settings, with rows no longer than a model has positions, where it has learned a vector for each of them.

    A row of more tokens would end the run with an index that is out of range. Where positions are computed, a model
    reads more than it was trained for, and `maxLength` stays.
    """
    own = context_of(configuration(folder))
    if own is None or own >= hyperparameters.max_length or not positions_are_a_table(folder):
        return hyperparameters
    log.warning(
        "the model has %d positions and can read no more: rows are cut there, and not at %d tokens (maxLength)",
        *(own, hyperparameters.max_length),
    )
    return hyperparameters.model_copy(update={"max_length": own})


def _theta(config: Mapping[str, Any]) -> float | None:
    # Transformers 5 writes it below rope_parameters, of each kind of layer where there are several.
    of_all = config.get("rope_parameters")
    parameters: Any = of_all if isinstance(of_all, dict) else {}
    first = next((part for part in parameters.values() if isinstance(part, dict)), parameters)
    found = config.get("rope_theta", first.get("rope_theta"))
    return float(found) if isinstance(found, int | float) else None


def _window(config: Mapping[str, Any]) -> float | None:
    found = config.get("sliding_window")
    used = config.get("use_sliding_window", True)
    return float(found) if isinstance(found, int | float) and used else None
