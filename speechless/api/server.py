"""`python -m speechless.api.server start --model M --backbone B --port 5001`: serve a model until SIGTERM."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from speechless.arguments import Parser, number, whole
from speechless.contract import FailureReason
from speechless.contract.engines import ENGINES, ServeEngine
from speechless.contract.needs import serving_problem
from speechless.entry import run
from speechless.environment import MODELS, TEST_MODEL, default_model
from speechless.errors import StageError
from speechless.generate import ModelFiles, ModelKind, find_model
from speechless.generate.llamacpp.server import server_argv
from speechless.generate.llamacpp.tools import find_server
from speechless.store import models
from speechless.store.modelcheck import check_model

if TYPE_CHECKING:
    import uvicorn

    from speechless.api.app import Service

KEY_VARIABLE = "SPEECHLESS_API_KEY"
BACKBONES = {"llamacpp": ModelKind.GGUF, "transformers": ModelKind.HUGGING_FACE}
OLD_BACKBONES = {"huggingface": "transformers"}
LOG_LEVELS = ("critical", "error", "warning", "info", "debug")


def build_parser() -> Parser:
    """The flags, by the names that existing scripts use."""
    parser = Parser(
        prog="speechless api start",
        description="Serve a model with OpenAI-compatible routes. SIGTERM lets requests that are under way finish.",
    )
    parser.add_argument(
        "--model",
        "--model_name_or_path",
        default=default_model(),
        metavar="MODEL",
        help=f"a folder or a .gguf file, {models.TAKEN} (default: ${TEST_MODEL})",
    )
    parser.add_argument(
        "--model_root_dir",
        type=Path,
        metavar="DIR",
        help=f"the folder that a relative --model is in (default: the current one, then ${MODELS.variable})",
    )
    parser.add_argument("--model_name", help="the name that clients ask for (default: the model's file name)")
    parser.add_argument(
        "--backbone",
        "--model_family",
        choices=[*BACKBONES, *OLD_BACKBONES],
        help="what answers (default: by the model's files)",
    )
    parser.add_argument("--host", default="0.0.0.0", help="the address to listen on")
    parser.add_argument("--port", type=whole(1, 65535), default=5001, help="the port to listen on")
    parser.add_argument("--parallel", type=whole(1), default=1, help="requests answered at the same time")
    parser.add_argument(
        "--context_length", type=whole(1), help="tokens of prompt and completion (default: the model's)"
    )
    parser.add_argument(
        "--api_keys_file",
        "--api-keys-file",
        type=Path,
        metavar="FILE",
        help=f"bearer tokens that may ask, one a line; one more may be in {KEY_VARIABLE}",
    )
    parser.add_argument(
        "--drain_seconds", type=number(0), default=30, help="how long SIGTERM waits for requests"
    )
    parser.add_argument(
        "--log_level", choices=LOG_LEVELS, default="info", help="the lowest level that is logged"
    )
    default = parser.add_argument_group("defaults for requests that omit them")
    default.add_argument("--temperature", type=number(0, 2), default=1.0, help="0: greedy")
    default.add_argument("--top_p", type=number(0, 1, above=True), default=1.0, help="nucleus sampling")
    default.add_argument(
        "--max_new_tokens",
        type=whole(1),
        help="tokens of an answer (default: 16 for a completion, the context for a chat)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Serve: 0 after a signal, 1 failed (one line says why), 2 usage error."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    given = parser.parse(words[1:] if words[:1] == ["start"] else words)
    if given.model is None:
        parser.error(f"--model is missing, and {TEST_MODEL} is not set: name the model")
    if given.model_root_dir and "://" in given.model:
        parser.error(f"--model_root_dir has no effect on {given.model}: leave it out")
    logging.basicConfig(
        level=given.log_level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    try:
        return serve(given)
    except StageError as problem:
        hint = f" ({problem.hint})" if problem.hint else ""
        print(f"{parser.prog}: {problem.message}{hint}", file=sys.stderr)
        return 1


def serve(given: argparse.Namespace) -> int:
    """Find the model and run what serves it."""
    place = models.locate_model(given.model_root_dir / given.model if given.model_root_dir else given.model)
    path, files = place.path, find_model(place.path)
    wanted = BACKBONES[OLD_BACKBONES.get(given.backbone, given.backbone)] if given.backbone else files.kind
    if wanted is not files.kind:
        raise StageError(
            FailureReason.MODEL_INVALID,
            f"{path}: --backbone {given.backbone} serves a {wanted.value} model, and this is {files.kind.value}",
            "Leave --backbone out to serve the model by its files, or quantize it first (speechless quant).",
        )
    engine = ENGINES[ServeEngine.LLAMA_CPP if files.kind is ModelKind.GGUF else ServeEngine.TRANSFORMERS]
    check_model(files.path, place.said, partial(serving_problem, engine))
    name = given.model_name or place.name
    keys = read_keys(given.api_keys_file)
    if files.kind is ModelKind.GGUF:
        return _llama_server(given, files, name, keys)
    return _in_process(given, files, name, keys)


def read_keys(file: Path | None) -> list[str]:
    """Keys of the file and the environment; a file without any is an error, because it would let everybody in."""
    keys = [os.environ[KEY_VARIABLE]] if os.environ.get(KEY_VARIABLE) else []
    if file is None:
        return keys
    if not file.is_file():
        raise StageError(FailureReason.INPUT_NOT_FOUND, f"--api_keys_file {file}: no such file")
    found = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not found:
        raise StageError(
            FailureReason.INVALID_SPEC, f"--api_keys_file {file}: no key in it", "One key a line."
        )
    return keys + found


def _llama_server(given: argparse.Namespace, files: ModelFiles, name: str, keys: list[str]) -> int:
    from speechless.api.supervise import run

    argv = server_argv(
        find_server(),
        files.path,
        alias=name,
        host=given.host,
        port=given.port,
        parallel=given.parallel,
        context_length=given.context_length,
        metrics=True,
    )
    # Its own defaults are other than OpenAI's: temperature 0.8, top-k 40, top-p 0.95, min-p 0.05.
    argv += ["--temp", str(given.temperature), "--top-p", str(given.top_p), "--top-k", "0", "--min-p", "0"]
    if given.max_new_tokens is not None:
        argv += ["--n-predict", str(given.max_new_tokens)]
    # In the environment, where other users of the machine cannot read it as they can an argument.
    environment = {**os.environ, **({"LLAMA_API_KEY": ",".join(keys)} if keys else {})}
    host = "127.0.0.1" if given.host == "0.0.0.0" else given.host
    return run(
        argv,
        f"http://{host}:{given.port}",
        environment=environment,
        key=keys[0] if keys else None,
        drain_seconds=given.drain_seconds,
    )


def draining_server(config: uvicorn.Config, service: Service) -> uvicorn.Server:
    """A server that a signal lets drain and then end with exit status 0: uvicorn's own dies of the signal at last."""
    import uvicorn

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            def drain(_number: int, _frame: FrameType | None) -> None:
                service.draining = True
                self.should_exit = True

            before = {number: signal.signal(number, drain) for number in (signal.SIGTERM, signal.SIGINT)}
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

    return Server(config)


def _in_process(given: argparse.Namespace, files: ModelFiles, name: str, keys: list[str]) -> int:
    import uvicorn

    from speechless.api.app import Service, create_app
    from speechless.api.schema import Defaults
    from speechless.generate.hf import HuggingFace

    defaults = Defaults(temperature=given.temperature, top_p=given.top_p, max_tokens=given.max_new_tokens)
    with HuggingFace(files.path, context_length=given.context_length) as engine:
        service = Service(engine, name, keys=keys, defaults=defaults, parallel=given.parallel)
        config = uvicorn.Config(
            create_app(service),
            host=given.host,
            port=given.port,
            log_level=given.log_level,
            timeout_graceful_shutdown=int(given.drain_seconds),
        )
        server = draining_server(config, service)
        server.run()
    return 0 if server.started else 1


if __name__ == "__main__":
    run("api", main)
