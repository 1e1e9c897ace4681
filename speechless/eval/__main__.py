"""`python -m speechless.eval SUITE ...`: one sub-command a benchmark."""

import importlib
import sys
from collections.abc import Sequence

from speechless.arguments import Parser
from speechless.entry import run

SUITES = {"humaneval": "speechless.eval.humaneval.__main__"}
"""Sub-command to the module whose `main` runs it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a sub-command and return its exit status: 0 done, 1 failed, 2 usage error."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = Parser(prog="speechless eval", description="Evaluate a model on a benchmark.")
    parser.add_argument("suite", choices=sorted(SUITES), help="the benchmark; its own --help tells the rest")
    name = parser.parse(words[:1]).suite
    status: int = importlib.import_module(SUITES[name]).main(words[1:])
    return status


if __name__ == "__main__":
    run("eval", main)
