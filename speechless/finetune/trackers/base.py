"""What a tracker's module is given, and what it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple, Protocol

from pydantic import JsonValue


class End(Enum):
    """How a training ended, and the seconds that a tracker then has for what it was not sent yet."""

    FINISHED = 30.0
    FAILED = 10.0
    INTERRUPTED = 5.0
    """A pod that is told to end has little time, and the next attempt goes on."""

    @property
    def seconds(self) -> float:
        """How long is waited."""
        return float(self.value)


class Logged(NamedTuple):
    """What was logged at a step."""

    step: int
    time: float
    """In seconds since 1970."""
    values: Mapping[str, float]


@dataclass(frozen=True)
class Wanted:
    """A run of a tracker."""

    name: str
    """What it is called; empty: as the tracker likes."""
    settings: Mapping[str, JsonValue]
    step: int
    """The last one that counts of an earlier attempt; 0: there was none."""
    before: str
    """What the tracker called the run of the earlier attempt; empty: there was none."""
    folder: Path | None
    """Where files may lie that stay; None: nowhere but where the tracker's own variables say."""
    scratch: Path
    """Where files may lie that do not stay."""


class Connection(Protocol):
    """A run of a tracker. What its methods raise is told as a warning, and they are tried again."""

    run: str
    """What the tracker calls it: by this a later attempt goes on in it."""
    where: str
    """Where a person finds it."""

    def log(self, logged: Sequence[Logged]) -> None:
        """Report values. The same ones may come twice, after an answer that was lost."""

    def end(self, how: End) -> None:
        """End the run. Nothing comes after that."""
