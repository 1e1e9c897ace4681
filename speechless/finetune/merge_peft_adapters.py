"""`python -m speechless.finetune.merge_peft_adapters`: merge an adapter into its base model."""

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from speechless.arguments import Parser
from speechless.entry import run
from speechless.errors import StageError, words_of
from speechless.failures import of_the_machine
from speechless.finetune.outputs import ADAPTER
from speechless.finetune.whole import is_free
from speechless.output import Document, results
from speechless.store import models


class Merged(Document):
    """What is printed."""

    merged: Path
    """The merged model's folder."""
    base: Path
    """The base model's."""
    adapter: Path
    """The adapter's."""
    metrics: dict[str, float]
    """What was measured on a fixed input, against the adapter: the largest difference of a logit, of the merged model
    in float32 and of the saved one, and the share of tokens with the same greedy choice."""


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(
        prog="python -m speechless.finetune.merge_peft_adapters",
        description="Merge an adapter into its base model: summed in float32, saved in the base model's own type. The "
        "saved model is read back and compared with the adapter; a merge that fails leaves nothing.",
    )
    parser.add_argument(
        "--base_model_name_or_path",
        required=True,
        metavar="MODEL",
        help=f"the base model: a folder, {models.TAKEN}",
    )
    parser.add_argument(
        "--lora_model_path",
        required=True,
        metavar="MODEL",
        help="an adapter, or a checkpoint that holds one: as the base model",
    )
    parser.add_argument(
        "--merged_model_name_or_path",
        type=Path,
        metavar="DIR",
        help="where the merged model goes (default: the base model's path and -merged)",
    )
    parser.add_argument(
        "--add_reasoning_tokens",
        action="store_true",
        help="refuse an adapter that was not trained with <think> and </think> as tokens; one that was brings them",
    )
    parser.add_argument(
        "--push_to_hub", nargs="?", const="true", metavar="NO", help="not offered; see store publish"
    )
    parser.add_output(Merged)
    return parser


def main(argv: Sequence[str]) -> int:
    """Merge and return the exit status: 0 done, 1 failed, 2 wrong usage."""
    parser = build_parser()
    given = parser.parse(argv)
    if (given.push_to_hub or "false").lower() != "false":
        parser.error(
            "--push_to_hub: leave it out; 'speechless store publish' writes the merged model to a bucket or a registry"
        )
    try:
        adapter = find_adapter(models.locate_model(given.lora_model_path).path)
        if adapter is None:
            parser.error(
                f"--lora_model_path {given.lora_model_path}: no adapter_config.json there or in {ADAPTER}/: "
                "a run writes it at its end, into OUTPUT_DIR"
            )
        place = models.existing_model(given.base_model_name_or_path)
        if given.add_reasoning_tokens and (token := _missing(adapter, place.path)):
            parser.error(
                f"--add_reasoning_tokens: the adapter was trained without {token} as a token: leave it out, or train "
                "with --add_reasoning_tokens"
            )
        base, out = place.path, given.merged_model_name_or_path or place.beside("-merged")
        if not is_free(out):
            parser.error(
                f"--merged_model_name_or_path {out}: the folder is not empty; nothing is overwritten"
            )
        from speechless.finetune.merge import merge

        with results(given.output) as shown, _ending() as stopping:
            metrics = {metric.name: metric.value for metric in merge(base, adapter, out, stopping)}
            lines = [
                f"{out}: {adapter} merged into {place.said} in float32, saved in the base model's own type"
            ]
            lines += [f"{name}: {value:.3g}" for name, value in metrics.items()]
            shown.show(Merged(merged=out, base=base, adapter=adapter, metrics=metrics), "\n".join(lines))
    except StageError as error:
        print(
            f"speechless finetune: {error.message}" + (f" ({error.hint})" if error.hint else ""),
            file=sys.stderr,
        )
        return 1
    except OSError as error:
        print(f"speechless finetune: {words_of(error)}", file=sys.stderr)
        return 1
    except Exception as error:
        known = of_the_machine(error)
        if known is None:
            raise
        print(f"speechless finetune: {known.message} ({known.hint})", file=sys.stderr)
        return 1
    return 0


@contextmanager
def _ending() -> Iterator[Callable[[], bool]]:
    """SIGTERM ends a merge as Ctrl-C does: what is half written is removed, which a second signal must not stop.

    Gives what tells whether a signal came: Python drops an exception that is raised while an object is deleted.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    came: list[int] = []

    def end(number: int, frame: object) -> NoReturn:
        came.append(number)
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in before:
        signal.signal(number, end)
    try:
        yield lambda: bool(came)
    finally:
        # After a signal the process ends, and another one must not break off what Python does then.
        if not came:
            for number, former in before.items():
                signal.signal(number, former)


def _missing(adapter: Path, base: Path) -> str:
    """The reasoning token that the adapter's tokenizer (where it has none: the base's) does not know; empty: none."""
    from transformers import AutoConfig, AutoTokenizer

    from speechless.finetune.tokenizer import REASONING

    folder = adapter if (adapter / "tokenizer_config.json").is_file() else base
    # An adapter's folder has no config.json, which may have to say of what kind the tokenizer is.
    config = AutoConfig.from_pretrained(base, local_files_only=True, trust_remote_code=False)
    known = AutoTokenizer.from_pretrained(
        folder, config=config, local_files_only=True, trust_remote_code=False
    ).get_vocab()
    return next((token for token in REASONING if token not in known), "")


def find_adapter(path: Path) -> Path | None:
    """The adapter's folder: the one named, or `adapter_model` in it; None if neither is one."""
    return next(
        (folder for folder in (path / ADAPTER, path) if (folder / "adapter_config.json").is_file()), None
    )


if __name__ == "__main__":
    run("finetune", lambda: main(sys.argv[1:]))
