"""`python -m speechless.tiny make --out DIR`."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from speechless.arguments import Parser
from speechless.entry import run
from speechless.tiny.make import PRESETS, OccupiedError, Settings, is_made, make


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="speechless tiny", description="Make a tiny real model and its tasks.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="make")
    command = commands.add_parser("make", help="write base/, train.jsonl, heldout.jsonl and text.txt")
    command.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="the folder to write to; created if it is missing",
    )
    command.add_argument(
        "--preset",
        choices=sorted(PRESETS),
        default="full",
        help="full: for a demo; quick: a little more than half; small: a quarter, for tests",
    )
    command.add_argument("--seed", type=int, help="another seed, another model (default: 0)")
    command.add_argument("--steps", type=_count, help="training steps of the base model")
    command.add_argument("--rows", type=_count, help="training rows")
    command.add_argument("--problems", type=_count, help="held-out problems")
    return parser


def main(argv: Sequence[str]) -> int:
    """Make the model, unless it is there already; return the exit status."""
    arguments = build_parser().parse(argv)
    given = {name: getattr(arguments, name) for name in ("seed", "steps", "rows", "problems")}
    settings: Settings = replace(
        PRESETS[arguments.preset], **{name: value for name, value in given.items() if value is not None}
    )
    try:
        if is_made(arguments.out, settings):
            print(f"tiny: {arguments.out} is made already")
            return 0
        make(arguments.out, settings, lambda text: print(f"tiny: {text}", flush=True))
    except (OccupiedError, OSError, ValueError) as error:
        print(f"speechless tiny: {error}", file=sys.stderr)
        return 1
    print(f"tiny: {arguments.out} is made")
    return 0


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


if __name__ == "__main__":
    run("tiny", lambda: main(sys.argv[1:]))
