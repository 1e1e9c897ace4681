"""What a row of the table can say of a command."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.docs.shell import Command


@dataclass(frozen=True)
class Here:
    """It is run in the root of this checkout by tests/unit/commands, must end with status 0 and print these words.

    For what only reads.
    """

    prints: str = ""


@dataclass(frozen=True)
class Library:
    """It is run by tests/library/test_documents.py: the commands of a page in their order, in an empty folder.

    For what needs torch, and minutes at most; `export` counts for the commands behind it. `instead` has words that are
    others there, such as a smaller model. A server has the URL that it answers at once it is `ready`; it is stopped at
    the end of the page.
    """

    instead: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ready: str = ""


@dataclass(frozen=True)
class Demo:
    """It is run by tests/chain/test_1_documents.py in the namespace of the demo, once that is done.

    For kubectl that only reads. `instead` has names that are others there.
    """

    instead: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Ran:
    """A test runs it, or the program behind it: `tests/tier/test_file.py::test_name`."""

    test: str


@dataclass(frozen=True)
class Step:
    """`make test` runs it as this step (hack/test_all.py)."""

    name: str


@dataclass(frozen=True)
class Cannot:
    """No test can run it, for this reason. What can be said offline is checked all the same."""

    why: str


DEMO = "speechless-demo"
"""The namespace of examples/demo."""
Where = Here | Library | Demo | Ran | Step | Cannot


@dataclass(frozen=True)
class Row:
    """A shape of commands (a regular expression for all of the text) and where they are run."""

    shape: str
    where: Where

    def fits(self, command: Command) -> bool:
        """Whether a command has this shape."""
        return re.fullmatch(self.shape, command.text, re.DOTALL) is not None


HOW = """\
Every command of a page has a row in tests/docs/table.py, which says where a test runs it. Widen the shape of a row of
its kind, or add a row:
    Row(r"the command, as a regular expression", Ran("tests/tier/test_file.py::test_name"))   a test that runs it
    ... Here()           it only reads this checkout: it is run here
    ... Library()        it needs torch: it is run by tests/library/test_documents.py
    ... Demo()           kubectl that reads: it is run on the demo by tests/chain
    ... Step("setup")    `make test` runs it as this step
    ... Cannot("why")    no test can run it, such as: needs Docker and a registry
tests/docs/README.md tells more."""


def unplaced(commands: Iterable[Command], rows: Sequence[Row]) -> list[str]:
    """The commands that no row fits, or more than one."""
    found = []
    for command in commands:
        fitting = [row.shape for row in rows if row.fits(command)]
        if not fitting:
            found.append(f"{command}\n    no row fits")
        elif len(fitting) > 1:
            found.append(f"{command}\n    more than one row fits: {'  and  '.join(fitting)}")
    return found


def unused(commands: Sequence[Command], rows: Iterable[Row]) -> list[str]:
    """The shapes of rows that fit no command of any page."""
    return [row.shape for row in rows if not any(row.fits(command) for command in commands)]


def chosen(commands: Iterable[Command], rows: Sequence[Row], where: type) -> list[tuple[Command, Row]]:
    """The commands that are run in a place, each with its row."""
    pairs = ((command, row) for command in commands for row in rows if row.fits(command))
    return [(command, row) for command, row in pairs if isinstance(row.where, where)]


def with_others(words: Iterable[str], instead: Mapping[str, tuple[str, ...]]) -> list[str]:
    """The words, some of them replaced."""
    return [other for word in words for other in instead.get(word, (word,))]


def on_demo(command: Command, row: Row) -> list[str]:
    """A command as it is run on the demo: in its namespace, and it does not watch for ever."""
    assert isinstance(row.where, Demo)
    words = [word for word in with_others(command.words, row.where.instead) if word not in ("-w", "--watch")]
    named = any(word in ("-n", "--namespace") for word in words)
    return words if named else [words[0], "-n", DEMO, *words[1:]]
