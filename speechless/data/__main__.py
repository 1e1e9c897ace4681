"""`python -m speechless.data check|convert`: what is in a dataset, and any shape of it as messages."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from speechless.arguments import Parser, whole
from speechless.contract import BadRows
from speechless.data import FLAGS, show
from speechless.data.check import Check, check
from speechless.data.convert import convert
from speechless.data.places import TAKEN, add_part, part_of, places
from speechless.entry import run
from speechless.errors import StageError, words_of
from speechless.output import Document, Results, results
from speechless.store import models

MAX_LENGTH = 2048


class Converted(Document):
    """What `convert` prints."""

    out: Path
    """The file that was written."""
    rows: int
    """Its rows."""
    left_out: int
    """Rows that did not fit their format."""


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="speechless data", description="Look at training data, and convert it.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    looked = commands.add_parser(
        "check",
        help="tell what is in a dataset",
        description="Check every row, and tell how many there are, how long, how much of them is learned, what comes "
        "twice and what is wrong; show one row with what is learned of it. Exit status 1 if a row does not fit.",
    )
    _add_data(looked)
    looked.add_argument(
        "--model",
        metavar="MODEL",
        help=f"lengths in the tokens of this model, and its chat template: a folder, {models.TAKEN}",
    )
    looked.add_argument(
        "--model_max_length",
        type=whole(1),
        help=f"the longest row, in tokens; with --model (default: {MAX_LENGTH})",
    )
    looked.add_output(Check)
    written = commands.add_parser(
        "convert",
        help="write any shape of rows as messages",
        description="Write the rows of files of any shape as JSON Lines: conversations as 'messages', texts as "
        "'prompt' and 'completion'.",
    )
    _add_data(written)
    written.add_argument("--out", type=Path, required=True, metavar="FILE", help="the .jsonl file to write")
    written.add_argument(
        "--bad_rows",
        choices=[each.value.lower() for each in BadRows],
        default="stop",
        help="a row that does not fit its format: write nothing, or skip and count it",
    )
    written.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    written.add_output(Converted)
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "dataset",
        metavar="PATH[,PATH]",
        help="files of rows (.jsonl, .json, .csv, .tsv, .parquet; also with .gz or .zst) or folders of them, with "
        f"commas between them; {TAKEN}",
    )
    add_part(parser)
    parser.add_argument(
        "--dataset_format",
        default="auto",
        choices=list(FLAGS),
        metavar="FORMAT",
        help="of the rows: " + ", ".join(FLAGS),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line: 0 done, 1 failed or a row does not fit, 2 usage error."""
    parser = build_parser()
    given = parser.parse(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
    if given.command == "check":
        if given.model is None and given.model_max_length is not None:
            parser.error("--model_max_length has no effect without --model")
        if given.model_max_length is not None and given.model_max_length < 8:
            parser.error("--model_max_length: at least 8")
    try:
        with results(given.output) as out:
            return _check(given, out) if given.command == "check" else _convert(given, out)
    except StageError as problem:
        print(
            f"{parser.prog}: {problem.message}" + (f" ({problem.hint})" if problem.hint else ""),
            file=sys.stderr,
        )
    except OSError as error:
        print(f"{parser.prog}: {words_of(error)}", file=sys.stderr)
    return 1


def _check(given: argparse.Namespace, out: Results) -> int:
    tokenizer = encoder = None
    if given.model is not None:
        from speechless.data.render import encoder_for
        from speechless.data.tokenizer import load_tokenizer

        tokenizer = load_tokenizer(models.locate_model(given.model).path)
        encoder = encoder_for(tokenizer)
    found, first = check(
        places(given.dataset, part_of(given.dataset_config, given.dataset_split)),
        FLAGS[given.dataset_format],
        encoder=encoder,
        max_length=given.model_max_length or MAX_LENGTH,
    )
    out.show(found, "\n".join(show.lines(found)))
    if first is not None:
        print(f"\n{first.where}:")
        show.print_row(
            show.of_example(first.example) if encoder is None else show.of_tokens(encoder(first), tokenizer)
        )
    return 1 if found.bad else 0


def _convert(given: argparse.Namespace, out: Results) -> int:
    if given.out.exists() and not given.overwrite:
        print(f"speechless data: {given.out} is there already: --overwrite replaces it", file=sys.stderr)
        return 1
    count, problems = convert(
        places(given.dataset, part_of(given.dataset_config, given.dataset_split)),
        FLAGS[given.dataset_format],
        given.out,
        BadRows(given.bad_rows.capitalize()),
    )
    problems.warn_if_any()
    made = Converted(out=given.out, rows=count, left_out=problems.count)
    out.show(made, f"{made.out}: {made.rows} rows" + (f", {made.left_out} left out" if made.left_out else ""))
    return 0


if __name__ == "__main__":
    run("data", main)
