"""The command that serves a model: what the serve stage becomes."""

import sys
from pathlib import Path

from speechless.contract import ServeEngine, ServeSpec
from speechless.generate.llamacpp.server import server_argv
from speechless.generate.llamacpp.tools import find_tool


def command(spec: ServeSpec, model_path: Path) -> list[str]:
    """The engine's argument list; its own arguments first, then `engine_args` one by one, so that those win.

    LlamaCpp without llama-server installed is served in process, by the binding; llama-server's arguments do not fit
    there, and `engine_args` make it fail with a usage error instead of being dropped.
    """
    if spec.engine is ServeEngine.LLAMA_CPP:
        binary = find_tool("llama-server")
        if binary is not None:
            argv = server_argv(
                binary,
                model_path,
                alias=spec.model_name,
                host=spec.host,
                port=spec.port,
                parallel=spec.parallel,
                context_length=spec.context_length,
                metrics=True,
            )
            return [*argv, *spec.engine_args]
    backbone = {ServeEngine.LLAMA_CPP: "llamacpp", ServeEngine.TRANSFORMERS: "transformers"}[spec.engine]
    argv = [sys.executable, "-m", "speechless.api.server", "start", "--backbone", backbone]
    argv += ["--model", str(model_path), "--model_name", spec.model_name]
    argv += ["--host", spec.host, "--port", str(spec.port), "--parallel", str(spec.parallel)]
    if spec.context_length is not None:
        argv += ["--context_length", str(spec.context_length)]
    return [*argv, *spec.engine_args]
