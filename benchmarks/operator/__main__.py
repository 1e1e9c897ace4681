"""The command: `make bench-operator`, or `python -m benchmarks.operator --help` in the root of the checkout."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.operator import idle, kept, progress, speed
from benchmarks.operator.table import Table, say

PARTS = (speed.PART, idle.PART, progress.PART, kept.PART)
RESOURCES = [1000, 5000]
RUNNING = 2000
KEPT = [1000, 2500, 5000, 10000]


def _numbers(text: str) -> list[int]:
    found = sorted(int(word) for word in text.split(","))
    if found[0] < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: numbers of resources are at least 1")
    return found


def _parts(text: str) -> list[str]:
    for word in text.split(","):
        if word not in PARTS:
            raise argparse.ArgumentTypeError(f"there is no part {word!r}; the parts: {', '.join(PARTS)}")
    return text.split(",")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.operator",
        description="Measure the operator with its default flags on a real API server; kwok plays nodes and pods. "
        "Needs what `make cluster-up` needs. One table, on standard output.",
        allow_abbrev=False,
    )
    made.add_argument(
        "--resources",
        type=_numbers,
        metavar="N[,N]",
        help=f"sizes for speed and idle (default: {','.join(map(str, RESOURCES))}); given, the other parts take "
        "these, too, up to their own defaults",
    )
    made.add_argument(
        "--running", type=int, metavar="N", help=f"pods that report progress (default: {RUNNING})"
    )
    made.add_argument(
        "--kept",
        type=_numbers,
        metavar="N[,N]",
        help=f"runs that ended and are kept (default: {','.join(map(str, KEPT))})",
    )
    made.add_argument("--only", type=_parts, default=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}")
    made.add_argument("--rounds", type=int, default=5, help="rounds at up to 1,000 resources (default: 5)")
    made.add_argument(
        "--seconds", type=float, default=60, help="how long idle and progress are looked at (default: 60)"
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="the figures for programs, too")
    return made


async def measure(given: argparse.Namespace, table: Table) -> None:
    """The chosen parts in turn."""
    sizes: list[int] = given.resources or RESOURCES
    running = given.running or (min(RUNNING, sizes[-1]) if given.resources else RUNNING)
    ended = given.kept or (sizes if given.resources else KEPT)
    if speed.PART in given.only:
        await speed.measure(table, sizes, given.rounds)
    if idle.PART in given.only:
        await idle.measure(table, sizes, given.seconds)
    if progress.PART in given.only:
        await progress.measure(table, running, given.seconds)
    if kept.PART in given.only:
        await kept.measure(table, ended)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 when everything was measured, whatever the figures are."""
    given = parser().parse_args(argv)
    table = Table()
    try:
        asyncio.run(measure(given, table))
    finally:
        if table.rows:
            print(table.text(), flush=True)
        if given.json:
            table.save(given.json)
            say(f"{given.json} has the figures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
