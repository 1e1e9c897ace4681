"""What came out: scores with their intervals, sizes, perplexity, times; for the last screen and for `-o json`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speechless.eval.interval import wilson
from speechless.output import Document
from speechless.quickstart.record import Record
from speechless.quickstart.steps import TASK, Chain, Step


class Row(Document):
    """One model: base, tuned or quantized."""

    model: str
    """base, tuned or quantized."""
    passed: int
    """Problems whose tests passed."""
    total: int
    """Problems that were scored."""
    low: float
    """Lower end of the 95 % interval of pass@1 (Wilson)."""
    high: float
    """Its upper end."""
    bytes: int | None
    """Size of the weights."""
    perplexity: float | None
    """On the text; null where it was not measured."""


class Outcome(Document):
    """What the quickstart prints."""

    folder: Path
    """Where everything is."""
    models: list[Row]
    """The scores."""
    seconds: dict[str, float]
    """How long each step took."""
    prompt: str
    """What the served model was asked."""
    answer: str
    """What it answered."""


def rows(folder: Path, chain: Chain) -> list[Row]:
    """One row a model, from the files of the steps."""
    quantization = _read(folder / chain.quantized().with_name("quantization.json"))
    measured = quantization.get("metrics", {})
    sizes = {
        "base": _weights(folder / chain.model),
        "tuned": _weights(folder / TASK / "merged"),
        "quantized": measured.get("size/after"),
    }
    perplexity = {"tuned": measured.get("perplexity/before"), "quantized": measured.get("perplexity/after")}
    return [_row(folder, name, size, perplexity.get(name)) for name, size in sizes.items()]


def _row(folder: Path, name: str, size: float | None, perplexity: float | None) -> Row:
    outcomes = _read(folder / "scores" / name / "humaneval_report.json").get("outcomes", {})
    passed, total = outcomes.get("passed", 0), sum(outcomes.values())
    low, high = wilson(passed, total) if total else (0.0, 1.0)
    return Row(
        model=name,
        passed=passed,
        total=total,
        low=low,
        high=high,
        bytes=None if size is None else int(size),
        perplexity=perplexity,
    )


def seconds(steps: Sequence[Step], record: Record) -> dict[str, float]:
    """How long each step took, when it was done."""
    return {step.name: record.seconds(step) for step in steps}


def _weights(folder: Path) -> int | None:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors")) or None


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
