"""`python -m speechless.tiny make --out DIR`."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from speechless.arguments import Parser, whole
from speechless.entry import run
from speechless.errors import words_of
from speechless.output import Document, results
from speechless.progress import showing
from speechless.tiny.make import PRESETS, OccupiedError, Settings, is_made, make


class Tiny(Document):
    """What `make` prints."""

    folder: Path
    """Where everything is."""
    made: bool
    """Whether this call made it; false: it was there already."""
    seed: int
    """Of everything."""
    steps: int
    """Training steps of the base model."""
    rows: int
    """Training rows."""
    problems: int
    """Held-out problems."""


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
        choices=list(PRESETS),
        default="full",
        help="full: for a demo; quick: a little more than half; small: a quarter, for tests",
    )
    command.add_argument("--seed", type=whole(0), help="another seed, another model (default: 0)")
    command.add_argument(
        "--steps", type=_count, help="training steps of the base model (default: by the preset)"
    )
    command.add_argument("--rows", type=_count, help="training rows (default: by the preset)")
    command.add_argument("--problems", type=_count, help="held-out problems (default: by the preset)")
    command.add_output(Tiny)
    return parser


def main(argv: Sequence[str]) -> int:
    """Make the model, unless it is there already; return the exit status."""
    arguments = build_parser().parse(argv)
    given = {name: getattr(arguments, name) for name in ("seed", "steps", "rows", "problems")}
    settings: Settings = replace(
        PRESETS[arguments.preset], **{name: value for name, value in given.items() if value is not None}
    )
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s", force=True)
    try:
        with results(arguments.output) as out:
            there = is_made(arguments.out, settings)
            if not there:
                with showing() as reporter:
                    make(arguments.out, settings, reporter)
            said = f"{arguments.out} is made" + (" already" if there else "")
            out.show(Tiny(folder=arguments.out, made=not there, **asdict(settings)), said)
    except (OccupiedError, OSError, ValueError) as error:
        print(f"speechless tiny: {words_of(error)}", file=sys.stderr)
        return 1
    return 0


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


if __name__ == "__main__":
    run("tiny", lambda: main(sys.argv[1:]))
