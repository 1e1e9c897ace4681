"""A model by the word that a person writes."""

from __future__ import annotations

from pathlib import Path

from speechless.contract import FailureReason
from speechless.environment import MODELS
from speechless.errors import StageError
from speechless.store.digest import Tick
from speechless.store.words import Here, locate, taken

TAKEN = taken(MODELS)
"""What such a word may be, for a command's help."""


def locate_model(word: str | Path, *, needed: bool = True, tick: Tick | None = None) -> Here:
    """Find a model as `words.locate` does, also below $MODELS_ROOT_DIR."""
    return locate(word, MODELS, needed=needed, tick=tick)


def existing_model(word: str | Path, *, tick: Tick | None = None) -> Here:
    """The same, and it is there: StageError(INPUT_NOT_FOUND) where it is not."""
    place = locate_model(word, tick=tick)
    if not place.path.exists():
        raise StageError(
            FailureReason.INPUT_NOT_FOUND, f"{place.said}: no such model", f"name a folder, {TAKEN}"
        )
    return place
