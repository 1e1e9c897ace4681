"""`python -m speechless.quickstart`: the whole chain on this machine, each command shown before it runs."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from speechless.arguments import Parser
from speechless.entry import need, run
from speechless.environment import DATA, MODELS
from speechless.errors import words_of
from speechless.output import Results, results
from speechless.quickstart.outcome import Outcome
from speechless.quickstart.steps import Chain

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
        "--model", type=Path, metavar="DIR", help="a Hugging Face folder instead of the tiny model"
    )
    parser.add_argument(
        "--dataset", type=Path, metavar="FILE", help="its training rows, JSON Lines; with --model"
    )
    parser.add_argument(
        "--problems",
        type=Path,
        metavar="FILE",
        help="HumanEval's problems; with --model (default: where they are installed)",
    )
    parser.add_argument(
        "--text", type=Path, metavar="FILE", help="a text to measure perplexity on; with --model"
    )
    parser.add_argument(
        "--port", type=int, default=5001, help="where the model is served; the next one where it is in use"
    )
    parser.add_output(Outcome)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the chain: 0 done, 1 a step failed, 2 usage error, 130 interrupted."""
    parser = build_parser()
    given = parser.parse(sys.argv[1:] if argv is None else argv)
    if not 0 < given.port < 65_536:
        parser.error(f"--port {given.port}: from 1 to 65535")
    chain = _chain(parser, given)
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
        weights = sum(file.stat().st_size for file in (given.model or Path()).glob("*.safetensors"))
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
    model, dataset = given.model and MODELS.find(given.model), given.dataset and DATA.find(given.dataset)
    problems, text = given.problems, given.text
    if model is None:
        for name, value in (("--dataset", dataset), ("--problems", problems), ("--text", text)):
            if value is not None:
                parser.error(f"{name} needs --model: the tiny model has its own")
        return Chain(
            Path("tiny", "base"), Path("tiny", "train.jsonl"), Path("tiny", "heldout.jsonl"), Path("tiny", "text.txt"),
            tiny=True, preset=given.preset or "small", max_tokens=64,
        )  # fmt: skip
    if given.preset is not None:
        parser.error("--preset has no effect with --model: it is the tiny model's")
    if dataset is None:
        parser.error("--model needs --dataset: the rows to train it on")
    for name, path in (
        ("--model", model),
        ("--dataset", dataset),
        ("--problems", problems),
        ("--text", text),
    ):
        if path is not None and not path.exists():
            parser.error(f"{name} {path}: there is no such file or folder")
    absolute = [None if path is None else path.resolve() for path in (problems, text)]
    return Chain(model.resolve(), dataset.resolve(), *absolute, tiny=False)


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
