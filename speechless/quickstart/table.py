"""The last screen: the table, the times, and what to try next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

import speechless
from speechless.progress.display import duration
from speechless.quickstart.outcome import Row


def results(rows: Sequence[Row]) -> Table:
    """One row a model."""
    made = Table(title="What came out", title_justify="left", title_style="bold")
    for name in ("model", "pass@1", "95 % interval", "passed", "size", "perplexity"):
        made.add_column(name, justify="left" if name == "model" else "right", no_wrap=True)
    for row in rows:
        made.add_row(
            row.model + (" (Q8_0)" if row.model == "quantized" else ""),
            f"{row.passed / row.total:.2f}" if row.total else "-",
            f"{row.low:.2f} to {row.high:.2f}" if row.total else "-",
            f"{row.passed} of {row.total}" if row.total else "-",
            f"{row.bytes / 1e6:.1f} MB" if row.bytes else "-",
            f"{row.perplexity:.3f}" if row.perplexity else "-",
        )
    return made


def times(seconds: Mapping[str, float]) -> str:
    """How long each step took, in one line."""
    parts = [f"{name} {duration(passed)}" for name, passed in seconds.items() if passed >= 1]
    return f"{duration(sum(seconds.values()))} in all: " + ", ".join(parts)


def next_steps(console: Console, folder: Path, serve: str) -> None:
    """Commands to copy; `make` is for a checkout, and the command itself for an installed wheel."""
    checkout = (Path(speechless.__file__).parents[1] / "Makefile").is_file()
    own = (
        "make quickstart MODEL={} DATASET={}" if checkout else "speechless quickstart --model {} --dataset {}"
    )
    again = "make quickstart" if checkout else f"speechless quickstart --out {folder}"
    console.print("\n[bold]What to try next[/bold]")
    for text, command in (
        ("the problems and what the model wrote", f"less {folder}/scores/tuned/humaneval_samples.jsonl"),
        ("serve it and ask it yourself", f"cd {folder} && {serve}"),
        (
            "the same with a model and rows of your own",
            own.format("/path/to/model", "/path/to/rows.jsonl"),
        ),
        ("change a setting and train again", f"NUM_TRAIN_EPOCHS=2 {again}"),
        *((("the same on Kubernetes", "make demo"),) if checkout else ()),
    ):
        console.print(f"  [dim]# {text}[/dim]")
        console.print(f"  {command}", highlight=False, markup=False, soft_wrap=True)
