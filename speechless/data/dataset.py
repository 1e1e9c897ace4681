"""A dataset: every row checked first, then the examples of a split as a stream.

Memory is one row, and a few bytes for each row of the files: which rows are used is decided by their numbers, not by
holding them.
"""

from __future__ import annotations

import logging
import random
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from speechless.contract import BadRows, DatasetFormat, FailureReason, PromptType
from speechless.data.examples import Conversation, Example
from speechless.data.files import Part, Place, parts_of, read_part
from speechless.data.formats import FORMATS, RowError, detect, keys_of, read
from speechless.data.jsonl import Line
from speechless.errors import StageError

log = logging.getLogger(__name__)

_TOLD = 20
_UNUSED, _TRAIN, _HELDOUT, _BAD = 0, 1, 2, 3
CATEGORY = "category"
"""The key of a row by which a split is stratified."""


class Placed(NamedTuple):
    """An example and where its row stands."""

    where: str
    example: Example


@dataclass
class Problems:
    """What is wrong with a dataset: the first rows in full, the others counted."""

    first: list[str] = field(default_factory=list)
    count: int = 0
    torn: bool = False
    """Whether a file could not be read to its end: then rows are missing, and none can be skipped."""

    def add(self, where: str, what: str, *, torn: bool = False) -> None:
        """Note one."""
        self.count += 1
        self.torn = self.torn or torn
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

    def warn_if_any(self) -> None:
        """Name the first in the log, and how many there are."""
        for line in self.first:
            log.warning("left out: %s", line)
        if self.count > len(self.first):
            log.warning("left out: %d rows more", self.count - len(self.first))


@dataclass(frozen=True)
class Survey:
    """A dataset whose every row was checked, and the part each row plays."""

    files: tuple[Part, ...]
    format: DatasetFormat
    """Never Auto."""
    rows: int
    """Rows in the files, bad ones included."""
    parts: Sequence[int]
    """A number a row: unused, trained on, held out, bad."""
    prompt_types: frozenset[PromptType | None] = frozenset()
    """What the conversations name as their prompt type; None: nothing."""

    @property
    def train_rows(self) -> int:
        """Rows to train on."""
        return sum(part == _TRAIN for part in self.parts)

    @property
    def heldout_rows(self) -> int:
        """Rows to measure the loss on."""
        return sum(part == _HELDOUT for part in self.parts)

    @property
    def bad_rows(self) -> int:
        """Rows that were left out because they do not fit their format."""
        return sum(part == _BAD for part in self.parts)


def survey(
    places: Path | Sequence[Place],
    row_format: DatasetFormat = DatasetFormat.AUTO,
    *,
    seed: int,
    max_samples: float | None = None,
    eval_rows: float = 0,
    max_eval_rows: int | None = None,
    bad_rows: BadRows = BadRows.STOP,
    check: Callable[[], None] = lambda: None,
) -> Survey:
    """Check every row of files and folders, and choose by `seed` which rows are used and which of them are held out.

    The rows' numbers are shuffled; the first `max_samples` are used (None: all). Of these, `eval_rows` are held out, at
    most `max_eval_rows`; where rows have a `category`, as large a part of each. Both are a part if below 1, else a
    count. StageError(DATASET_INVALID) names file and line. `check` is called every thousand rows, and may raise.
    """
    files = parts_of([places] if isinstance(places, Path) else places)
    reader = _Reader(row_format)
    for file in files:
        before = reader.count
        for line in read_part(file):
            reader.take(line)
            if reader.count % 1000 == 0:
                check()
        if reader.count == before:
            reader.problems.add(file.name, "the file holds no row")
    if bad_rows is BadRows.STOP or reader.problems.torn:
        reader.problems.raise_if_any()
    if reader.bad.count(0) == 0:
        reader.problems.raise_if_any()  # none is left
    reader.problems.warn_if_any()
    parts = _parts(reader, seed, max_samples, eval_rows, max_eval_rows)
    return Survey(tuple(files), reader.format, reader.count, parts, frozenset(reader.prompt_types))


def read_rows(dataset: Survey, *, heldout: bool) -> Iterator[Placed]:
    """The examples of a split, in the files' order."""
    wanted = _HELDOUT if heldout else _TRAIN
    lines = (line for file in dataset.files for line in read_part(file))
    for number, line in enumerate(lines):
        if number >= dataset.rows:
            raise _changed(line)
        if dataset.parts[number] != wanted:
            continue
        try:
            if line.problem is not None:
                raise RowError(line.problem)
            yield Placed(line.where, read(line.value, dataset.format))
        except RowError as error:
            raise _changed(line) from error


class Looked(NamedTuple):
    """A row that was looked at: an example, or what is wrong with it."""

    where: str
    example: Example | None
    problem: str
    """Empty: nothing."""
    category: str | int | None
    torn: bool = False


class Looker:
    """Looks at one row after the other; the first that tells its format decides that of all."""

    def __init__(self, row_format: DatasetFormat = DatasetFormat.AUTO) -> None:
        """`row_format`: Auto, or the format of all rows."""
        self.format = row_format

    def look(self, line: Line) -> Looked:
        """What a row is."""
        found = line.value.get(CATEGORY) if isinstance(line.value, dict) else None
        category = found if isinstance(found, str | int) else None
        if line.problem is not None:
            return Looked(line.where, None, line.problem, category, line.torn)
        try:
            return Looked(line.where, self._example(line.value), "", category)
        except RowError as error:
            return Looked(line.where, None, str(error), category)

    def _example(self, value: object) -> Example:
        if self.format is DatasetFormat.AUTO:
            found = detect(value)
            if found is None:
                known = ", ".join(row.name for row in FORMATS if not row.by_name_alone)
                raise RowError(f"its keys tell no format (found: {keys_of(value)}); there are {known}")
            self.format = found.name
        return read(value, self.format)


class _Reader:
    """What is known of the rows so far."""

    def __init__(self, row_format: DatasetFormat) -> None:
        self._looker = Looker(row_format)
        self.problems = Problems()
        self.bad = array("B")
        """1 a bad row."""
        self.categories = array("H")
        """A number a row; those behind the 65,535th share one."""
        self.prompt_types: set[PromptType | None] = set()
        self._known: dict[object, int] = {}

    @property
    def format(self) -> DatasetFormat:
        return self._looker.format

    @property
    def count(self) -> int:
        return len(self.bad)

    def take(self, line: Line) -> None:
        """Check the next row."""
        looked = self._looker.look(line)
        if looked.problem:
            self.problems.add(looked.where, looked.problem, torn=looked.torn)
        self.bad.append(bool(looked.problem))
        if isinstance(looked.example, Conversation):
            self.prompt_types.add(looked.example.prompt_type)
        number = self._known.setdefault(looked.category, len(self._known))
        self.categories.append(min(number, 65_535))


def _parts(
    reader: _Reader, seed: int, max_samples: float | None, eval_rows: float, max_eval_rows: int | None
) -> array[int]:
    """The part of each row: the first of the shuffled numbers are held out, the next are trained on."""
    order = array("L", range(reader.count))
    random.Random(seed).shuffle(order)
    order = array("L", (number for number in order if not reader.bad[number]))
    count = len(order)
    used = count if max_samples is None else min(count, _share(max_samples, count))
    held = _share(eval_rows, used)
    held = held if max_eval_rows is None else min(held, max_eval_rows)
    if held >= used:
        what = f"{used} rows are used, {held} of them held out: none is left to train on"
        raise StageError(FailureReason.DATASET_INVALID, what, "hold out fewer rows, or bring more")
    parts = array("B", (_BAD if bad else _UNUSED for bad in reader.bad))
    for number in order[:used]:
        parts[number] = _TRAIN
    for number in _stratified(order[:used], reader.categories, held):
        parts[number] = _HELDOUT
    return parts


def _stratified(order: Sequence[int], categories: Sequence[int], wanted: int) -> Iterator[int]:
    """`wanted` of the numbers, the first of each category, as large a part of each as of all (largest remainders)."""
    sizes: dict[int, int] = {}
    for number in order:
        sizes[categories[number]] = sizes.get(categories[number], 0) + 1
    exact = {category: wanted * size / len(order) for category, size in sizes.items()}
    quota = {category: int(share) for category, share in exact.items()}
    rest = wanted - sum(quota.values())
    for category in sorted(exact, key=lambda each: (quota[each] - exact[each], each))[:rest]:
        quota[category] += 1
    for number in order:
        if quota[categories[number]]:
            quota[categories[number]] -= 1
            yield number


def _share(wanted: float, of: int) -> int:
    """A part of `of` if below 1, at least one; else a count."""
    return max(1, round(of * wanted)) if 0 < wanted < 1 else round(wanted)


def _changed(line: Line) -> StageError:
    what = f"{line.where}: the file changed while it was read"
    return StageError(FailureReason.DATASET_INVALID, what, "train on files that nobody writes to")
