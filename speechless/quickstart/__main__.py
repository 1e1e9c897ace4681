"""`python -m speechless.quickstart`: the whole chain on this machine, each command shown before it runs."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from speechless.arguments import Parser, whole
from speechless.data.places import TAKEN, locate_data, located, part_of, places
from speechless.entry import need, run
from speechless.errors import StageError, words_of
from speechless.output import Results, results
from speechless.quickstart.outcome import Outcome
from speechless.quickstart.steps import Chain
from speechless.store import models

if TYPE_CHECKING:
    from speechless.quickstart.screen import Screen

FREE_BYTES = 200_000_000
"""What the tiny chain writes, with room."""
COPIES = 4
"""Of a model's weights: merged, F16, Q8_0, and checkpoints."""


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(
        prog="speechless quickstart",
        description="From nothing to an answer on this machine: a tiny base model, fine-tuned, scored before and "
        "after, quantized, scored again and served. Each command is shown before it runs. What an earlier run has "
        "done is not done again.",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("quickstart"),
        metavar="DIR",
        help="where everything is made",
    )
    parser.add_argument(
        "--preset",
        choices=("full", "quick", "small"),
        help="how long the tiny model learns (default: small; quick: twice as long; full: four times)",
    )
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help=f"instead of the tiny model a Hugging Face folder, {models.TAKEN}",
    )
    parser.add_argument(
        "--dataset",
        metavar="PATH[,PATH]",
        help="its training rows, in one of the formats of docs/howto/training-data.md; with --model: files or folders, "
        f"{TAKEN}",
    )
    parser.add_argument(
        "--problems",
        metavar="FILE",
        help="HumanEval's problems; with --model: as --dataset (default: where they are installed)",
    )
    parser.add_argument(
        "--text", metavar="FILE", help="a text to measure perplexity on; with --model: as --dataset"
    )
    parser.add_argument(
        "--port",
        type=whole(1, 65535),
        default=5001,
        help="where the model is served; the next one where it is in use",
    )
    parser.add_output(Outcome)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the chain: 0 done, 1 a step failed, 2 usage error, 130 interrupted."""
    parser = build_parser()
    given = parser.parse(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(message)s")
    try:
        chain = _chain(parser, given)
    except StageError as problem:
        print(f"{parser.prog}: {problem.message} ({problem.hint})", file=sys.stderr)
        return 1
    need("openai")
    # Only now: without rich, this fails with one line.
    from speechless.quickstart.screen import Screen

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what runs below is ended, too
    with results(given.output) as out:
        return _run(given, chain, Screen(), out)


def _run(given: argparse.Namespace, chain: Chain, screen: Screen, out: Results) -> int:
    from speechless.quickstart.run import StepError

    try:
        folder: Path = given.out.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        weights = sum(
            file.stat().st_size for file in (Path() if chain.tiny else chain.model).glob("*.safetensors")
        )
        free, needed = shutil.disk_usage(folder).free, FREE_BYTES + COPIES * weights
        if free < needed:
            raise StepError(
                f"{folder}: {free / 1e6:.0f} MB are free, {needed / 1e6:.0f} are needed; give another --out"
            )
        out.show(_go(folder, chain, given.port, screen))
    except KeyboardInterrupt:
        screen.failed("interrupted; the same command goes on from here")
        return 130
    except (StepError, OSError) as error:
        screen.failed(words_of(error))
        return 1
    return 0


def _chain(parser: Parser, given: argparse.Namespace) -> Chain:
    words = {"--dataset": given.dataset, "--problems": given.problems, "--text": given.text}
    if given.model is None:
        for name, value in words.items():
            if value is not None:
                parser.error(f"{name} needs --model: the tiny model has its own")
        return Chain(
            Path("tiny", "base"),
            (Path("tiny", "train.jsonl"),),
            Path("tiny", "heldout.jsonl"),
            Path("tiny", "text.txt"),
            tiny=True,
            preset=given.preset or "small",
            max_tokens=64,
        )
    if given.preset is not None:
        parser.error("--preset has no effect with --model: it is the tiny model's")
    if given.dataset is None:
        parser.error("--model needs --dataset: the rows to train it on")

    def there(name: str, path: Path) -> Path:
        if not path.exists():
            parser.error(f"{name} {path}: there is no such file or folder")
        return path.absolute()  # not resolved: a file of a hub's cache has its name from a link

    place = models.locate_model(given.model, needed=False)
    if not place.cached:
        there("--model", place.path)
    part = part_of(os.environ.get("DATASET_CONFIG"), os.environ.get("DATASET_SPLIT"))
    dataset = tuple(there("--dataset", here.path) for here in located(given.dataset, part))
    places(given.dataset, part)  # the task chooses by itself; that it can is told now
    problems, text = (
        words[name] and there(name, locate_data(words[name]).path) for name in ("--problems", "--text")
    )
    # Last: it may be a large download.
    return Chain(there("--model", models.locate_model(given.model).path), dataset, problems, text, tiny=False)


def _go(folder: Path, chain: Chain, wanted: int, screen: Screen) -> Outcome:
    from speechless.quickstart import outcome, serve, table
    from speechless.quickstart.run import run_all

    steps = chain.steps()
    record = run_all(folder, steps, screen)
    port = serve.free_port(wanted)
    shown = "python -m " + " ".join(serve.words(chain.quantized(), port))
    screen.console.print("\n[bold]Serve it, and ask[/bold]")
    screen.console.print(f"[cyan]$ {shown}[/cyan]")
    if port != wanted:
        screen.said(f"  port {wanted} is in use: {port} is taken instead")
    prompt = serve.TINY_PROMPT if chain.tiny else serve.PROMPT
    with serve.served(folder, chain.quantized(), port, screen) as url:
        screen.done(f"{url} answers as OpenAI's API does")
        answer = serve.ask(url, prompt, chain.max_tokens)
    screen.console.print()
    screen.console.print(prompt, markup=False, end="")
    screen.console.print(answer.rstrip(), markup=False, style="bold")
    screen.console.print()
    found = Outcome(
        folder=folder,
        models=outcome.rows(folder, chain),
        seconds=outcome.seconds(steps, record),
        prompt=prompt,
        answer=answer,
    )
    screen.console.print(table.results(found.models))
    screen.console.print(table.times(found.seconds), markup=False)
    # To be copied into a shell that knows nothing of this environment.
    table.next_steps(screen.console, folder, shown.replace("python", sys.executable, 1))
    return found


if __name__ == "__main__":
    run("quickstart", main)
