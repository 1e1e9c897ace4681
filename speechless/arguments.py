"""The argument parser of every command: no abbreviations, and one line for a mistake, naming the nearest known word."""

import argparse
import difflib
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean X?" for the known word nearest to `word`, or "" where none is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


class DefaultsHelp(argparse.HelpFormatter):
    """Adds a flag's default to its help, where there is one and the text does not say it already."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        said = action.help or ""
        has_none = action.default in (None, False, argparse.SUPPRESS)
        if has_none or "default" in said or not action.option_strings:
            return said
        return f"{said} (default: %(default)s)"


class Parser(argparse.ArgumentParser):
    """An argument parser that takes no abbreviations and answers an unknown flag with the nearest known one."""

    def __init__(self, **kwargs: Any) -> None:
        """Take what `argparse.ArgumentParser` takes, but for `allow_abbrev`: it stays off."""
        super().__init__(allow_abbrev=False, **kwargs)

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse a whole command line, or exit with status 2 and one line that names the first word nobody knows."""
        parsed, unknown = self.parse_known_args(argv)
        if unknown:
            word = unknown[0].partition("=")[0]
            kind = "flag" if word.startswith("-") else "argument"
            self.error(f"unknown {kind} {word}{did_you_mean(word, self._option_string_actions)}")
        return parsed

    def error(self, message: str) -> NoReturn:
        """Print one line on standard error and exit with status 2: no usage block to search for the reason in."""
        self.exit(2, f"{self.prog}: {message} (see '{self.prog} --help')\n")
