"""Data by the word that a person writes."""

import argparse
from pathlib import Path

from pydantic import ValidationError

from speechless.contract import DataSource, FailureReason
from speechless.data.files import Place
from speechless.data.splits import chosen, one_file
from speechless.environment import DATA
from speechless.errors import StageError
from speechless.store.digest import Tick
from speechless.store.words import WHOLE, DataPart, Here, local, locate, taken

TAKEN = taken(DATA, dataset=True)
"""What such a word may be, for a command's help."""


def locate_data(
    word: str | Path, *, part: DataPart = WHOLE, needed: bool = True, tick: Tick | None = None
) -> Here:
    """Find data as `words.locate` does, also below $SPEECHLESS_DATA_DIR."""
    return locate(word, DATA, dataset=True, part=part, needed=needed, tick=tick)


def places(given: str, part: DataPart = WHOLE, *, tick: Tick | None = None) -> tuple[Place, ...]:
    """The places in a list with commas, of each the part of it; a path whose own name has a comma is itself."""
    found = located(given, part, tick=tick)
    return tuple(place for here in found for place in chosen(here.path, part, here.said))


def located(given: str, part: DataPart = WHOLE, *, tick: Tick | None = None) -> list[Here]:
    """The files and folders in such a list, whole."""
    whole = local(given, DATA)
    words = [word.strip() for word in given.split(",")]
    if whole.exists() or not any(words):
        return [Here(whole, whole.name, str(whole), cached=False)]
    return [locate_data(word, part=part, tick=tick) for word in words if word]


def add_part(parser: argparse.ArgumentParser | argparse._ArgumentGroup, prefix: str = "dataset") -> None:
    """The flags for a part of a hub's dataset: `--<prefix>_config` and `--<prefix>_split`."""
    parser.add_argument(
        f"--{prefix}_config",
        metavar="NAME",
        help="of a hub's dataset: which of its configurations (needed where it has several)",
    )
    parser.add_argument(
        f"--{prefix}_split",
        metavar="SPLIT",
        help="of a hub's dataset: which of its splits (needed where it has several), such as train or 'train[:10%%]'",
    )


def part_of(config: str | None, split: str | None, prefix: str = "dataset") -> DataPart:
    """What these flags name; empty ones name nothing. StageError(INVALID_SPEC) for what cannot be a name."""
    part = DataPart(config or None, split or None)
    try:
        DataSource(uri="file:///data", config=part.config, split=part.split)
    except ValidationError as problem:
        field = str(problem.errors(include_url=False)[0]["loc"][0])
        what = f"--{prefix}_{field}: {getattr(part, field)} can be none"
        hint = "a split is written as datasets has it: train, train[:10%] or train+validation"
        raise StageError(FailureReason.INVALID_SPEC, what, hint) from None
    return part


def file_of(word: str, part: DataPart, into: Path, *, text: bool) -> Path:
    """The file or folder that a word means; a part of a dataset as a new file below `into` (`splits.one_file`)."""
    here = locate_data(word, part=part)
    return one_file(here.path, part, here.said, into, text=text)
