"""A model by the word that a person writes."""

from __future__ import annotations

from pathlib import Path

from speechless.environment import MODELS
from speechless.store.digest import Tick
from speechless.store.words import Here, locate, taken

TAKEN = taken(MODELS)
"""What such a word may be, for a command's help."""


def locate_model(word: str | Path, *, needed: bool = True, tick: Tick | None = None) -> Here:
    """Find a model as `words.locate` does, also below $MODELS_ROOT_DIR."""
    return locate(word, MODELS, needed=needed, tick=tick)
