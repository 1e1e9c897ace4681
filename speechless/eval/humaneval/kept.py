"""Samples are kept as they come: a run that ends early is taken up again, and ranges of one run come together.

Beside the samples stands what they were made with. Samples that were made otherwise are moved aside, never overwritten.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from speechless.eval.humaneval.problems import Problem
from speechless.eval.humaneval.samples import RESULTS_SUFFIX
from speechless.store import locks

SAMPLES = "humaneval_samples.jsonl"
GENERATION = "humaneval_generation.json"
REPORT = "humaneval_report.json"
_LOCK = ".humaneval.lock"


class Kept:
    """The samples in an output folder. Several processes may add to them, each its own range."""

    def __init__(self, out: Path, made: dict[str, JsonValue]) -> None:
        """`made`: what decides the samples, as the fields of a `GenerationRecord`."""
        self.out, self.made = out, made
        self.path = out / SAMPLES

    def begin(self, samples_per_task: int) -> Counter[str]:
        """Problems whose samples are all there, with their number; what is torn or incomplete is dropped."""
        self.out.mkdir(parents=True, exist_ok=True)
        with self._locked():
            rows = self._rows() if self._same() else []
            count = Counter(str(row["task_id"]) for row in rows)
            whole = [row for row in rows if count[row["task_id"]] == samples_per_task]
            partial = self.path.with_name(f".{SAMPLES}.partial")
            partial.write_text("".join(map(_line, whole)), encoding="utf-8")
            os.replace(partial, self.path)
            return Counter(str(row["task_id"]) for row in whole)

    def move_aside(self, *, everything: bool = False) -> Path | None:
        """Give samples that were made otherwise another name, with all that was made of them; it, or None.

        `everything`: those that were made like this, too.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        with self._locked():
            if (self._same() and not everything) or not self.path.is_file() or not self.path.stat().st_size:
                return None
            number = next(
                number for number in itertools.count(1) if not self._aside(SAMPLES, number).exists()
            )
            # The samples last: who is stopped here begins here again.
            for name in (REPORT, f"{SAMPLES}{RESULTS_SUFFIX}", GENERATION, SAMPLES):
                if (self.out / name).exists():
                    os.replace(self.out / name, self._aside(name, number))
            return self._aside(SAMPLES, number)

    def record(self, more: dict[str, JsonValue]) -> None:
        """Write down what the samples are made with."""
        partial = self.out / f".{GENERATION}.partial"
        partial.write_text(json.dumps(self.made | more, indent=2) + "\n", encoding="utf-8")
        os.replace(partial, self.out / GENERATION)

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """All samples of one or more problems, on disk when this returns."""
        with self._locked(), self.path.open("a", encoding="utf-8") as file:
            file.write("".join(map(_line, rows)))
            file.flush()
            os.fsync(file.fileno())

    def cut_off(self) -> int:
        """Samples that ended for want of tokens."""
        return sum(row.get("finish_reason") == "length" for row in self._rows())

    def _same(self) -> bool:
        try:
            told = json.loads((self.out / GENERATION).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return isinstance(told, dict) and all(told.get(name) == value for name, value in self.made.items())

    def _rows(self) -> list[dict[str, Any]]:
        """Those that can be read: a process that was killed may have left half a line."""
        if not self.path.is_file():
            return []
        rows = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict) and isinstance(row.get("task_id"), str):
                rows.append(row)
        return rows

    def _aside(self, name: str, number: int) -> Path:
        stem, _, rest = name.partition(".")
        return self.out / f"{stem}.{number}.{rest}"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            handle = locks.take(self.out / _LOCK)
        except locks.LocksError:
            handle = None  # one process at a time works there
        try:
            yield
        finally:
            if handle is not None:
                os.close(handle)


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row) + "\n"


def blocks(
    problems: Sequence[Problem], start: int, end: int | None, done: Counter[str], *, size: int
) -> Iterator[tuple[int, list[Problem]]]:
    """What is missing of a range, as (place among all problems, problems that follow each other), `size` at most.

    Blocks lie at the same places whatever the range is, and wherever an earlier run ended: so a sample has the same
    seed, and the same ones beside it.
    """
    chosen = range(len(problems))[start:end]
    missing = [index for index in chosen if problems[index].task_id not in done]
    for _, group in itertools.groupby(
        enumerate(missing), key=lambda item: (item[1] // size, item[1] - item[0])
    ):
        places = [index for _, index in group]
        yield places[0], [problems[index] for index in places]


def block_size(batch_size: int, samples_per_task: int, *, batches: int) -> int:
    """Problems of a block whose samples fill so many batches, or the first number of them that they fill."""
    return math.lcm(batch_size, samples_per_task) // samples_per_task * batches
