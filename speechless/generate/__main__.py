"""`python -m speechless.generate`: what a model says to one prompt, on this machine."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from speechless.arguments import Parser, number, whole
from speechless.contract import FailureReason
from speechless.entry import run
from speechless.environment import MODELS, TEST_MODEL, default_model
from speechless.errors import StageError
from speechless.generate import Message, Sampling, open_generator
from speechless.generate.files import NEEDS, find_model
from speechless.models import read_info
from speechless.output import Document, results
from speechless.store import models
from speechless.store.words import Here


class Answer(Document):
    """What the command prints."""

    model: str
    """Its path, or the name or URI that others find it by."""
    backend: str
    """What generated: hf (Transformers) or llama-server."""
    text: str
    """The answer, or what the prompt goes on with."""
    finish_reason: str
    """stop: the model ended, or a stop string came. length: the tokens were used up."""
    prompt_tokens: int
    completion_tokens: int


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(
        prog="speechless generate",
        description="Put one prompt to a model and print what it says: an answer by the model's chat template, where "
        "it has one, or else the text that follows.",
    )
    parser.add_argument(
        "--model",
        "--model_name_or_path",
        default=default_model(),
        metavar="MODEL",
        help=f"a folder or a .gguf file, {models.TAKEN} (default: ${TEST_MODEL}); also below ${MODELS.variable}",
    )
    parser.add_argument("--prompt", metavar="TEXT", help="what is asked (default: standard input)")
    parser.add_argument("--system", metavar="TEXT", help="a system text before it")
    parser.add_argument(
        "--raw", action="store_true", help="go on from the prompt as it stands, without a chat template"
    )
    parser.add_argument("--max_new_tokens", type=whole(1), default=512, help="tokens of the answer at most")
    parser.add_argument(
        "--temperature", type=number(0, 2), default=0.0, help="0: the likeliest tokens, always"
    )
    parser.add_argument(
        "--top_p",
        type=number(0, 1, above=True),
        default=1.0,
        help="nucleus sampling; without effect at temperature 0",
    )
    parser.add_argument(
        "--seed", type=whole(0), default=42, help="of the draws; without effect at temperature 0"
    )
    parser.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="end before this text; may be given again"
    )
    parser.add_output(Answer)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line: 0 done, 1 failed (one line says why), 2 usage error."""
    parser = build_parser()
    given = parser.parse(sys.argv[1:] if argv is None else argv)
    if given.model is None:
        parser.error(f"--model is missing, and {TEST_MODEL} is not set: name the model")
    if given.system is not None and given.raw:
        parser.error("--system goes with a chat template, and --raw goes without: leave one of them out")
    if "" in given.stop:
        parser.error("--stop: an empty text would end every answer at once")
    prompt = given.prompt if given.prompt is not None else _standard_input(parser)
    if not prompt.strip():
        parser.error("the prompt is empty: --prompt TEXT, or a text on standard input")
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(message)s")
    sampling = Sampling(given.max_new_tokens, given.temperature, given.top_p, tuple(given.stop), given.seed)
    try:
        with results(given.output) as out:
            place = models.existing_model(given.model)
            answer = generate(place, prompt, sampling, system=given.system, raw=given.raw)
            out.show(answer, answer.text)
            return 0
    except StageError as problem:
        hint = f" ({problem.hint})" if problem.hint else ""
        print(f"{parser.prog}: {problem.message}{hint}", file=sys.stderr)
        return 1


def generate(place: Here, prompt: str, sampling: Sampling, *, system: str | None, raw: bool) -> Answer:
    """What a model says to a prompt.

    StageError(MODEL_INVALID) for a system text where the model has no chat template, and as of `open_generator`.
    """
    files = find_model(place.path)
    info = read_info(files.path, NEEDS[files.kind][0])
    chats = not raw and bool(info and info.chat_template)
    if system is not None and not chats:
        what = f"{place.said}: the model has no chat template, so there is no place for a system text"
        raise StageError(FailureReason.MODEL_INVALID, what, "write it into the prompt")
    asked: list[Message] = [{"role": "system", "content": system}] if system is not None else []
    asked.append({"role": "user", "content": prompt})
    with open_generator(place.path) as generator:
        (made,) = generator.chat([asked], sampling) if chats else generator.complete([prompt], sampling)
        return Answer(
            model=place.said,
            backend=generator.name,
            text=made.text,
            finish_reason=made.finish_reason,
            prompt_tokens=made.prompt_tokens,
            completion_tokens=made.completion_tokens,
        )


def _standard_input(parser: Parser) -> str:
    """The prompt, whole; exit status 2 where nobody can give one."""
    if sys.stdin is None or sys.stdin.isatty():
        parser.error("--prompt is missing: what is asked of the model")
    try:
        return sys.stdin.read().removesuffix("\n")
    except UnicodeDecodeError:
        parser.error("the text on standard input is not UTF-8")


if __name__ == "__main__":
    run("generate", main)
