"""Watching the chain: a live table on a terminal, a line a change elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from demo.resources import CHAIN, Row, diagnosis, read
from demo.tools import DemoError, Tools

STYLES = {
    "Succeeded": "green",
    "Ready": "green",
    "Failed": "bold red",
    "Stalled": "bold red",
    "Running": "cyan",
}


def watch(
    tools: Tools, console: Console, seconds: float, chain: Sequence[tuple[str, str]] = CHAIN
) -> list[Row]:
    """Until all is done; DemoError with the resource's own diagnosis when one fails or time is up."""
    began = time.monotonic()
    if not console.is_terminal:
        return _follow(tools, chain, console, began, seconds, lambda rows: None)
    with Live(console=console, refresh_per_second=4, transient=False) as live:
        return _follow(
            tools,
            chain,
            None,
            began,
            seconds,
            lambda rows: live.update(table(rows, time.monotonic() - began)),
        )


def _follow(
    tools: Tools,
    chain: Sequence[tuple[str, str]],
    console: Console | None,
    began: float,
    seconds: float,
    show: Callable[[list[Row]], None],
) -> list[Row]:
    said: dict[str, str] = {}
    while True:
        rows = read(tools, chain)
        show(rows)
        if console is not None:
            for row in rows:
                step = f"{row.phase} {'' if row.percent is None else row.percent // 10 * 10}"
                if said.get(row.title) != step:
                    said[row.title] = step
                    percent = "" if row.percent is None else f" {row.percent} %"
                    console.print(
                        f"{time.monotonic() - began:6.0f} s  "
                        f"{row.title:<24} {row.phase:<10}{percent:>6}  {row.message}",
                        highlight=False,
                        markup=False,
                        soft_wrap=True,
                    )
        if failed := [row for row in rows if row.failed]:
            raise DemoError("\n".join(diagnosis(tools, row) for row in failed))
        if all(row.done for row in rows):
            return rows
        if time.monotonic() - began > seconds:
            waiting = [row for row in rows if not row.done]
            late = "\n".join(diagnosis(tools, row) for row in waiting)
            raise DemoError(f"not done after {seconds:.0f} s:\n{late}")
        time.sleep(1)


def table(rows: list[Row], seconds: float) -> Table:
    """The chain at this moment."""
    made = Table(
        title=f"examples/demo, {seconds:.0f} s", title_justify="left", expand=True, box=None, pad_edge=False
    )
    made.add_column("resource", no_wrap=True)
    made.add_column("phase", no_wrap=True)
    made.add_column("", width=18)
    made.add_column("left", justify="right", no_wrap=True)
    made.add_column("", overflow="ellipsis", no_wrap=True, ratio=1)
    for row in rows:
        bar = (
            ProgressBar(total=100, completed=row.percent or 0, width=18)
            if row.percent is not None
            else Text("")
        )
        left = "" if row.remaining is None else f"{row.remaining} s"
        made.add_row(
            row.title, Text(row.phase, style=STYLES.get(row.phase, "")), bar, left, Text(row.message)
        )
    return made
