"""The files of samples and results, as openai/human-eval reads and writes them."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.eval.sandbox.model import Outcome

RESULTS_SUFFIX = "_results.jsonl"


def read_samples(path: Path) -> list[dict[str, Any]]:
    """Rows with `task_id` and `completion`, or evalplus's `solution`; `DATASET_INVALID` names the line at fault.

    A byte order mark is none of the text.
    """
    if not path.is_file():
        raise StageError(FailureReason.INPUT_NOT_FOUND, f"{path}: no such file", "Generate samples first.")
    rows = []
    for number, line in enumerate(path.read_bytes().removeprefix(codecs.BOM_UTF8).split(b"\n"), 1):
        if not line.strip():
            continue
        where = f"{path.name}:{number}"
        try:
            row = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as problem:
            what = f"{where}: not UTF-8: {problem.reason} at byte {problem.start}"
            raise StageError(FailureReason.DATASET_INVALID, what, "write the samples as UTF-8") from None
        except (ValueError, RecursionError) as problem:
            raise StageError(FailureReason.DATASET_INVALID, f"{where}: no JSON: {problem}") from None
        if not isinstance(row, dict) or not isinstance(row.get("task_id"), str) or not _runs(row):
            what = f"{where}: a sample needs the texts task_id and completion (or solution, a whole program)"
            raise StageError(FailureReason.DATASET_INVALID, what)
        rows.append(row)
    return rows


def _runs(row: dict[str, Any]) -> bool:
    """Whether it says what is run."""
    told = [row[key] for key in ("solution", "completion") if row.get(key) is not None]
    return bool(told) and all(isinstance(text, str) for text in told)


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """JSON Lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")


def write_results(samples: Path, rows: Sequence[dict[str, Any]], outcomes: Sequence[Outcome]) -> Path:
    """Each sample with `result` and `passed`, beside the samples: `<file>_results.jsonl`."""
    path = Path(f"{samples}{RESULTS_SUFFIX}")
    write_rows(
        path,
        (
            row | {"result": outcome.result, "passed": outcome.passed}
            for row, outcome in zip(rows, outcomes, strict=True)
        ),
    )
    return path
