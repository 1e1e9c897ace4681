"""`python -m speechless.eval SUITE ...`: one sub-command a benchmark."""

import importlib
import sys
from collections.abc import Sequence

from speechless.arguments import Parser
from speechless.entry import run

SUITES = {"humaneval": "speechless.eval.humaneval.__main__"}
"""Sub-command to the module whose `main` runs it."""


def build_parser() -> Parser:
    """The command line, with each suite's own below it."""
    parser = Parser(prog="speechless eval", description="Evaluate a model on a benchmark.")
    suites = parser.add_subparsers(dest="suite", required=True, metavar="SUITE")
    for name, module in SUITES.items():
        own: Parser = importlib.import_module(module).build_parser()
        suites.add_parser(name, help="its own --help tells the rest", parents=[own], add_help=False)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a sub-command and return its exit status: 0 done, 1 failed, 2 usage error."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] and words[0] in SUITES:
        status: int = importlib.import_module(SUITES[words[0]]).main(words[1:])
        return status
    build_parser().parse(words)
    raise AssertionError("a command line without a suite is an error")


if __name__ == "__main__":
    run("eval", main)
