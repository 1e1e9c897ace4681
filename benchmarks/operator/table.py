"""The figures, as a table for people and as JSON for programs."""

from __future__ import annotations

import json
import os
import platform
import runpy
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

from tests.support.cluster import ROOT


@dataclass(frozen=True)
class Row:
    """One figure."""

    part: str
    what: str
    size: int
    """How many resources."""
    value: float
    unit: str
    goal: float | None = None
    """What it should be at most; None: told, not judged."""
    note: str = ""

    @property
    def verdict(self) -> str:
        """Whether the goal is reached; empty where there is none."""
        if self.goal is None:
            return ""
        return "reached" if self.value <= self.goal else "NOT REACHED"


@dataclass
class Table:
    """All figures of a run."""

    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Keep a figure, and say it at once: a run takes long."""
        self.rows.append(row)
        say(f"{row.part}: {row.what} at {row.size}: {_number(row.value)} {row.unit} {row.note}")

    def text(self) -> str:
        """The table, its columns aligned, with the machine and the versions below it."""
        lines = [("part", "resources", "figure", "value", "goal", "", "note")]
        for row in self.rows:
            goal = "" if row.goal is None else f"<= {_number(row.goal)}"
            value = f"{_number(row.value)} {row.unit}".strip()
            lines.append((row.part, f"{row.size}", row.what, value, goal, row.verdict, row.note))
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        table = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        return "\n".join([*table, "", *(f"{name}: {value}" for name, value in about().items())])

    def save(self, file: Path) -> None:
        """As JSON."""
        file.write_text(json.dumps({"about": about(), "rows": [asdict(row) for row in self.rows]}, indent=1))


def _number(value: float) -> str:
    return f"{value:.0f}" if value == int(value) or abs(value) >= 100 else f"{value:.3g}"


def say(text: str) -> None:
    """Progress, on standard error: standard output carries the table."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def about() -> dict[str, str]:
    """The machine and the versions that the figures are of."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    built = runpy.run_path(str(ROOT / "hack" / "cluster" / "versions.py"))
    packages: Sequence[str] = ("aiohttp", "uvloop", "orjson")
    return {
        "machine": f"{os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()}",
        "versions": f"speechless {commit or 'unknown'}, Kubernetes {built['KUBERNETES']}, kwok {built['KWOK']}, "
        f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in packages),
    }
