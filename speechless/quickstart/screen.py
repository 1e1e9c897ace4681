"""What a person sees: each command before it runs, its last line while it does, and how long it took."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

Tell = Callable[[str], None]
"""Takes a line that a command printed."""


class Screen:
    """The terminal, or a file: there every step is a few plain lines."""

    def __init__(self, console: Console | None = None) -> None:
        """Write to standard output."""
        self.console = console or Console(highlight=False, soft_wrap=True)

    def head(self, number: int, total: int, text: str, command: str) -> None:
        """A step begins."""
        self.console.print(f"\n[bold]{number}/{total}  {escape(text)}[/bold]")
        self.console.print(f"[cyan]$ {escape(command)}[/cyan]")

    def said(self, text: str) -> None:
        """One line."""
        self.console.print(f"[dim]{escape(text)}[/dim]")

    def done(self, text: str) -> None:
        """A step ended well."""
        self.console.print(f"[green]✔[/green] {escape(text)}")

    def failed(self, text: str) -> None:
        """A step failed."""
        self.console.print(f"[red]✘[/red] {escape(text)}")

    @contextlib.contextmanager
    def working(self) -> Iterator[Tell]:
        """A spinner with the last line of what runs; nothing where nobody looks."""
        if not self.console.is_terminal:
            yield lambda _line: None
            return
        columns = (SpinnerColumn(), TimeElapsedColumn(), TextColumn("[dim]{task.description}[/dim]"))
        with Progress(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task("starting")
            room = max(20, self.console.width - 16)
            yield lambda line: bar.update(task, description=escape(line.strip()[:room]))
