"""The command `speechless-operator`."""

import argparse
import difflib
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import NoReturn

DESCRIPTION = """\
The Kubernetes operator of Speechless.

This version runs no controller yet: it answers --version and --help, and nothing else. The state of things is in
README.md."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line. (The library has one too; the operator imports only its contract.)"""

    def error(self, message: str) -> NoReturn:
        """Print one line on standard error and exit with status 2."""
        self.exit(2, f"{self.prog}: {message} (see '{self.prog} --help')\n")


def build_parser() -> Parser:
    """Return the parser of the operator's command line."""
    parser = Parser(
        prog="speechless-operator",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    # The library and the operator are one distribution and have one version, set in speechless/__init__.py.
    parser.add_argument(
        "--version", action="version", version=f"speechless-operator {version('speechless-llm')}"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0, or 2 for a usage error."""
    parser = build_parser()
    arguments = sys.argv[1:] if argv is None else list(argv)
    _, unknown = parser.parse_known_args(arguments)
    if unknown:
        word = unknown[0].partition("=")[0]
        near = difflib.get_close_matches(word, ["--help", "--version"], n=1)
        parser.error(f"unknown argument {word}" + (f"; did you mean {near[0]}?" if near else ""))
    parser.print_help()
    return 0
