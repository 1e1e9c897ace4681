"""The argument parser of every command: no abbreviations, and one line for a mistake, naming the nearest known word.

What several commands have in common is declared here once: defaults in the help, `--version`, `-o json`, the scripts
of shell completion.
"""

import argparse
import difflib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn

SHELLS = ("bash", "zsh", "tcsh")
"""Those that shtab writes a completion script for."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean X?" for the known word nearest to `word`, or "" where none is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """A type of flags: whole numbers from `least` to `most`."""

    def read(text: str) -> int:
        value = int(text)
        if value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"must be {_range(least, most)}, not {text}")
        return value

    read.__name__ = "whole number"  # argparse: "invalid whole number value: 'x'"
    return read


def number(least: float, most: float | None = None, *, above: bool = False) -> Callable[[str], float]:
    """A type of flags: finite numbers from `least` (`above`: which is none of them) to `most`."""

    def read(text: str) -> float:
        value = float(text)
        low = value <= least if above else value < least
        if not math.isfinite(value) or low or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"must be {_range(least, most, above=above)}, not {text}")
        return value

    read.__name__ = "number"
    return read


def _range(least: float, most: float | None, *, above: bool = False) -> str:
    """In words.

    >>> _range(1, None), _range(0, 1, above=True), _range(1, 9)
    ('1 or more', 'above 0 and at most 1', 'from 1 to 9')
    """
    if most is None:
        return f"above {least}" if above else f"{least} or more"
    return f"above {least} and at most {most}" if above else f"from {least} to {most}"


class DefaultsHelp(argparse.HelpFormatter):
    """Adds a flag's default to its help, where there is one and the text does not say it already."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        said = action.help or ""
        # By identity: 0 equals False and is a default like any other.
        none = any(action.default is nothing for nothing in (None, False, argparse.SUPPRESS))
        if none or action.default in ("", []) or "default" in said or not action.option_strings:
            return said
        return f"{said} (default: %(default)s)"


class DefaultsRawHelp(DefaultsHelp, argparse.RawDescriptionHelpFormatter):
    """The same, with description and epilog as they are written."""


class Parser(argparse.ArgumentParser):
    """An argument parser that takes no abbreviations and answers an unknown word with the nearest known one."""

    prints: type[Any] | None = None
    """The document of `-o json`, a pydantic model."""

    def __init__(self, **kwargs: Any) -> None:
        """Take what `argparse.ArgumentParser` takes, but for `allow_abbrev`: it stays off."""
        super().__init__(allow_abbrev=False, **({"formatter_class": DefaultsHelp} | kwargs))

    def add_version(self, version: str) -> None:
        """Take `-V` and `--version`."""
        said = f"{self.prog} {version}"
        self.add_argument(
            "-V", "--version", action="version", version=said, help="print the version and exit"
        )

    def add_output(self, document: type[Any] | None = None) -> None:
        """Take `-o json`; `document`: what is printed then, for the reference. See `speechless.output`."""
        self.prints = document
        self.add_argument(
            "-o",
            "--output",
            choices=("text", "json"),
            default="text",
            help="text, or json: the result as one JSON document on standard output, all else on standard error",
        )

    def add_completion(self) -> None:
        """Take `--print-completion`; who parses answers it with `completion`."""
        self.add_argument(
            "--print-completion",
            choices=SHELLS,
            metavar="SHELL",
            help=f"print the script that completes this command in a shell, {', '.join(SHELLS)}; and exit",
        )

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse a whole command line, or exit with status 2 and one line that names the first word nobody knows."""
        # Before argparse, which would take the value of an unknown flag for a sub-command.
        anywhere = {flag for parser in self._all_parsers() for flag in parser._option_string_actions}
        for word in itertools.takewhile(lambda word: word != "--", argv):
            if word.startswith("--") and word.partition("=")[0] not in anywhere:
                self._unknown(word, argv)
        parsed, unknown = self.parse_known_args(argv)
        if unknown:
            self._unknown(unknown[0], argv)
        return parsed

    def _unknown(self, word: str, argv: Sequence[str]) -> NoReturn:
        name = word.partition("=")[0]
        kind = "flag" if name.startswith("-") else "argument"
        self.error(f"unknown {kind} {name}{did_you_mean(name, self._flags(argv))}")

    def error(self, message: str) -> NoReturn:
        """Print one line on standard error and exit with status 2: no usage block to search for the reason in."""
        self.exit(2, f"{self.prog}: {message} (see '{self.prog} --help')\n")

    def completion(self, shell: str) -> str:
        """The script that completes this command in a shell."""
        import shtab

        for parser in self._all_parsers():
            for action in parser._actions:
                if action.metavar in ("DIR", "FILE", "PATH", "MODEL"):
                    kind = shtab.DIRECTORY if action.metavar == "DIR" else shtab.FILE
                    action.complete = kind  # type: ignore[attr-defined]
        script: str = shtab.complete(self, shell=shell)
        return script

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        known = [str(choice) for choice in action.choices]
        near = did_you_mean(str(value), known)
        raise argparse.ArgumentError(
            action, f"invalid choice: {str(value)!r}{near} (one of {', '.join(known)})"
        )

    def _subparsers_by_name(self) -> dict[str, "Parser"]:
        found = (action for action in self._actions if isinstance(action, argparse._SubParsersAction))
        return {name: parser for action in found for name, parser in action.choices.items()}

    def _all_parsers(self) -> Iterator["Parser"]:
        yield self
        for parser in self._subparsers_by_name().values():
            yield from parser._all_parsers()

    def _flags(self, argv: Sequence[str]) -> set[str]:
        """The flags of this command line: this parser's, and those of the sub-commands that it names."""
        below = (parser for name, parser in self._subparsers_by_name().items() if name in argv)
        return {*self._option_string_actions, *(flag for parser in below for flag in parser._flags(argv))}
