"""The last screen: scores with their intervals, sizes, perplexity, times; and what to try next."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from speechless.eval.interval import wilson
from speechless.progress.display import duration
from speechless.quickstart.record import Record
from speechless.quickstart.steps import TASK, Chain, Step

_ROWS = (("base", "score base"), ("tuned", "score tuned"), ("quantized", "score quantized"))


def results(folder: Path, chain: Chain) -> Table:
    """One row a model."""
    quantization = _read(folder / chain.quantized().with_name("quantization.json"))
    measured = quantization.get("metrics", {})
    sizes = {
        "base": _weights(folder / chain.model),
        "tuned": _weights(folder / TASK / "merged"),
        "quantized": measured.get("size/after"),
    }
    perplexity = {"tuned": measured.get("perplexity/before"), "quantized": measured.get("perplexity/after")}
    made = Table(title="What came out", title_justify="left", title_style="bold")
    for name in ("model", "pass@1", "95 % interval", "passed", "size", "perplexity"):
        made.add_column(name, justify="left" if name == "model" else "right", no_wrap=True)
    for name, _step in _ROWS:
        outcomes = _read(folder / "scores" / name / "humaneval_report.json").get("outcomes", {})
        passed, total = outcomes.get("passed", 0), sum(outcomes.values())
        low, high = wilson(passed, total) if total else (0.0, 1.0)
        size, value = sizes[name], perplexity.get(name)
        made.add_row(
            name + (" (Q8_0)" if name == "quantized" else ""),
            f"{passed / total:.2f}" if total else "-",
            f"{low:.2f} to {high:.2f}" if total else "-",
            f"{passed} of {total}" if total else "-",
            f"{size / 1e6:.1f} MB" if size else "-",
            f"{value:.3f}" if value else "-",
        )
    return made


def times(steps: Sequence[Step], record: Record) -> str:
    """How long each step took, in one line."""
    parts = [f"{step.name} {duration(record.seconds(step))}" for step in steps if record.seconds(step) >= 1]
    total = sum(record.seconds(step) for step in steps)
    return f"{duration(total)} in all: " + ", ".join(parts)


def next_steps(console: Console, folder: Path, serve: str) -> None:
    """Commands to copy."""
    console.print("\n[bold]What to try next[/bold]")
    for text, command in (
        ("the problems and what the model wrote", f"less {folder}/scores/tuned/humaneval_samples.jsonl"),
        ("serve it and ask it yourself", f"cd {folder} && {serve}"),
        (
            "the same with a model and rows of your own",
            "make quickstart MODEL=/path/to/model DATASET=/path/to/rows.jsonl",
        ),
        ("change a setting and train again", "NUM_TRAIN_EPOCHS=2 make quickstart"),
        ("the same on Kubernetes", "make demo"),
    ):
        console.print(f"  [dim]# {text}[/dim]")
        console.print(f"  {command}", highlight=False, markup=False, soft_wrap=True)


def _weights(folder: Path) -> int | None:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors")) or None


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
