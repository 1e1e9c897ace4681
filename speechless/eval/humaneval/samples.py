"""The files of samples and results, as openai/human-eval reads and writes them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.eval.sandbox.model import Outcome

RESULTS_SUFFIX = "_results.jsonl"


def read_samples(path: Path) -> list[dict[str, Any]]:
    """Rows with `task_id` and `completion`; `DATASET_INVALID` names the line at fault."""
    if not path.is_file():
        raise StageError(FailureReason.INPUT_NOT_FOUND, f"{path}: no such file", "Generate samples first.")
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as problem:
            raise StageError(
                FailureReason.DATASET_INVALID, f"{path.name}:{number}: no JSON: {problem}"
            ) from None
        if not isinstance(row, dict) or not all(
            isinstance(row.get(key), str) for key in ("task_id", "completion")
        ):
            raise StageError(
                FailureReason.DATASET_INVALID,
                f"{path.name}:{number}: a sample needs the texts task_id and completion",
            )
        rows.append(row)
    return rows


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
