"""Data by the word that a person writes."""

from pathlib import Path

from speechless.environment import DATA
from speechless.store.digest import Tick
from speechless.store.words import Here, locate, taken

TAKEN = taken(DATA, dataset=True)
"""What such a word may be, for a command's help."""


def locate_data(word: str | Path, *, needed: bool = True, tick: Tick | None = None) -> Here:
    """Find data as `words.locate` does, also below $SPEECHLESS_DATA_DIR."""
    return locate(word, DATA, dataset=True, needed=needed, tick=tick)


def places(given: str, *, tick: Tick | None = None) -> tuple[Path, ...]:
    """The places in a list with commas; a path whose own name has a comma is itself."""
    whole = DATA.find(Path(given))
    parts = [part.strip() for part in given.split(",")]
    if whole.exists() or not any(parts):
        return (whole,)
    return tuple(locate_data(part, tick=tick).path for part in parts if part)
