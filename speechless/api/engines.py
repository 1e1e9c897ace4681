"""The command that serves a model: what the serve stage runs. One function a row of `speechless.contract.engines`."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from speechless.contract import ServeEngine, ServeSpec
from speechless.generate.llamacpp.server import server_argv
from speechless.generate.llamacpp.tools import find_server


class Command(NamedTuple):
    """How to serve."""

    argv: list[str]
    drains_itself: bool
    """Whether the program finishes what is under way when SIGTERM comes. If not, `supervise` does it for it."""


def command(spec: ServeSpec, model_path: Path) -> Command:
    """The engine's argument list; its own arguments first, then `engine_args` one by one, so that those win."""
    return COMMANDS[spec.engine](spec, model_path)


def _llama_cpp(spec: ServeSpec, model_path: Path) -> Command:
    """llama-server. The one in the wheel knows few arguments: others among `engine_args` are a usage error there."""
    argv = server_argv(
        find_server(),
        model_path,
        alias=spec.model_name,
        host=spec.host,
        port=spec.port,
        parallel=spec.parallel,
        context_length=spec.context_length,
        metrics=True,
    )
    return Command([*argv, *spec.engine_args], drains_itself=False)


def _transformers(spec: ServeSpec, model_path: Path) -> Command:
    argv = [sys.executable, "-m", "speechless.api.server", "start", "--backbone", "transformers"]
    argv += ["--model", str(model_path), "--model_name", spec.model_name]
    argv += ["--host", spec.host, "--port", str(spec.port), "--parallel", str(spec.parallel)]
    argv += ["--drain_seconds", str(spec.drained_within)]
    if spec.context_length is not None:
        argv += ["--context_length", str(spec.context_length)]
    return Command([*argv, *spec.engine_args], drains_itself=True)


COMMANDS: dict[str, Callable[[ServeSpec, Path], Command]] = {
    ServeEngine.LLAMA_CPP: _llama_cpp,
    ServeEngine.TRANSFORMERS: _transformers,
}
