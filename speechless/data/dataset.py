"""A dataset: every row checked first, then the rows of a split as a stream.

Memory is one row, and a few bytes for each row of the files: which rows are used is decided by their numbers, not by
holding them.
"""

from __future__ import annotations

import logging
import random
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from speechless.contract import DatasetFormat, FailureReason
from speechless.data.jsonl import SUFFIXES, Line, data_files, read_lines
from speechless.data.rows import Row, detect_format, problem_of
from speechless.errors import StageError

log = logging.getLogger(__name__)

_TOLD = 20
_UNUSED, _TRAIN, _HELDOUT = 0, 1, 2


@dataclass
class Problems:
    """What is wrong with a dataset: the first rows in full, the others counted."""

    first: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, where: str, what: str) -> None:
        """Note one."""
        self.count += 1
        if len(self.first) < _TOLD:
            self.first.append(f"{where}: {what}")

    def raise_if_any(self) -> None:
        """StageError(DATASET_INVALID) naming the first; the log names up to 20."""
        if not self.count:
            return
        for line in self.first:
            log.error("%s", line)
        more = (
            f" (and {self.count - 1} more {'row' if self.count == 2 else 'rows'})" if self.count > 1 else ""
        )
        hint = (
            "correct or remove the row; the log names the first 20" if more else "correct or remove the row"
        )
        raise StageError(FailureReason.DATASET_INVALID, f"{self.first[0]}{more}", hint)


@dataclass(frozen=True)
class Survey:
    """A dataset whose every row was checked, and the part each row plays."""

    files: tuple[Path, ...]
    format: DatasetFormat
    """Messages or PromptCompletion, never Auto."""
    rows: int
    """Rows in the files."""
    parts: Sequence[int]
    """A number a row: unused, trained on, held out."""

    @property
    def train_rows(self) -> int:
        """Rows to train on."""
        return sum(part == _TRAIN for part in self.parts)

    @property
    def heldout_rows(self) -> int:
        """Rows to measure the loss on."""
        return sum(part == _HELDOUT for part in self.parts)


def survey(
    path: Path,
    row_format: DatasetFormat = DatasetFormat.AUTO,
    *,
    seed: int,
    max_samples: float | None = None,
    eval_rows: float = 0,
    max_eval_rows: int | None = None,
) -> Survey:
    """Check every row of a file or folder, and choose by `seed` which rows are used and which of them are held out.

    The rows' numbers are shuffled; the first `max_samples` are used (None: all). Of these, `eval_rows` are held out, at
    most `max_eval_rows`. Both are a part if below 1, else a count. StageError(DATASET_INVALID) names file and line.
    """
    files, problems, found, count = data_files(path), Problems(), row_format, 0
    if not files:
        what = f"{path.name}: the folder holds none of {', '.join('*' + suffix for suffix in SUFFIXES)}"
        raise StageError(FailureReason.DATASET_INVALID, what, "name a JSON Lines file or a folder of them")
    for file in files:
        before = count
        for line in read_lines(file):
            count += 1
            if found is DatasetFormat.AUTO and line.problem is None:
                found = detect_format(line.value) or _unknown(line)
            problem = line.problem or problem_of(line.value, found)
            if problem:
                problems.add(line.where, problem)
        if count == before:
            problems.add(file.name, "the file holds no row")
    problems.raise_if_any()
    parts = _parts(count, seed, max_samples, eval_rows, max_eval_rows)
    return Survey(tuple(files), found, count, parts)


def read_rows(dataset: Survey, *, heldout: bool) -> Iterator[Row]:
    """The rows of a split, in the files' order, with the format's keys only."""
    wanted = _HELDOUT if heldout else _TRAIN
    keys = ("messages",) if dataset.format is DatasetFormat.MESSAGES else ("prompt", "completion")
    lines = (line for file in dataset.files for line in read_lines(file))
    for number, line in enumerate(lines):
        if number >= dataset.rows or line.problem or not isinstance(line.value, dict):
            what = f"{line.where}: the file changed while it was read"
            raise StageError(FailureReason.DATASET_INVALID, what, "train on files that nobody writes to")
        if dataset.parts[number] == wanted:
            yield {key: line.value[key] for key in keys}


def _parts(
    count: int, seed: int, max_samples: float | None, eval_rows: float, max_eval_rows: int | None
) -> array[int]:
    """The part of each row: the first of the shuffled numbers are held out, the next are trained on."""
    order = array("L", range(count))
    random.Random(seed).shuffle(order)
    used = count if max_samples is None else min(count, _share(max_samples, count))
    held = _share(eval_rows, used)
    held = held if max_eval_rows is None else min(held, max_eval_rows)
    if held >= used:
        what = f"{used} rows are used, {held} of them held out: none is left to train on"
        raise StageError(FailureReason.DATASET_INVALID, what, "hold out fewer rows, or bring more")
    parts = array("B", bytes(count))
    for number in order[:held]:
        parts[number] = _HELDOUT
    for number in order[held:used]:
        parts[number] = _TRAIN
    return parts


def _share(wanted: float, of: int) -> int:
    """A part of `of` if below 1, else a count; something of what is not nothing."""
    return max(1, round(of * wanted)) if 0 < wanted < 1 else round(wanted)


def _unknown(line: Line) -> DatasetFormat:
    keys = ", ".join(sorted(map(str, line.value))[:8]) if isinstance(line.value, dict) else "no object"
    what = f"{line.where}: neither 'messages' nor 'prompt' and 'completion' (found: {keys or 'no keys'})"
    raise StageError(FailureReason.DATASET_INVALID, what, "bring rows of one of the two formats")
