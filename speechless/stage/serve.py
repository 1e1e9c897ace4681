"""The stage `serve`: verify the model, then become the engine, so that signals and the exit status are the engine's."""

import logging
import os
from pathlib import Path
from typing import NoReturn

from speechless.contract import FailureReason, Format, ServeEngine, ServeSpec
from speechless.errors import StageError
from speechless.stage.waiting import await_source
from speechless.store import Opened, store_for

log = logging.getLogger("speechless.stage")

_SERVES = {ServeEngine.LLAMA_CPP: Format.GGUF, ServeEngine.TRANSFORMERS: Format.HUGGING_FACE}


def serve(spec: ServeSpec) -> NoReturn:
    """Replace this process by the engine; StageError if the model is not the one asked for or no engine is here."""
    from speechless.api.engines import command

    log.info("verifying %s", spec.model.uri)
    store = store_for(spec.model.uri, spec.mounts)
    await_source(
        store, spec.model, waiting=log.info, check=lambda: None
    )  # SIGTERM ends this process as it is
    opened = store.open(spec.model)
    argv = command(spec, model_path(spec, opened))
    log.info("%s is %s; starting %s", spec.model.uri, opened.digest, argv)
    for handler in logging.getLogger().handlers:
        handler.flush()
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        what = f"engine: {spec.engine} cannot be started: {argv[0]}: {error.strerror}"
        raise StageError(FailureReason.INVALID_SPEC, what, "use the image of this engine") from error


def model_path(spec: ServeSpec, opened: Opened) -> Path:
    """What the engine is given: the GGUF file for llama.cpp, the model's folder for Transformers."""
    wanted = _SERVES[spec.engine]
    held = opened.manifest.format if opened.manifest else None
    if held not in (None, wanted):
        raise StageError(
            FailureReason.MODEL_INVALID,
            f"{spec.model.uri}: the artifact's format is {held}, {spec.engine} serves {wanted}",
            f"quantize the model, or choose the engine {ServeEngine.TRANSFORMERS}"
            if wanted is Format.GGUF
            else f"serve the model before it was quantized, or choose the engine {ServeEngine.LLAMA_CPP}",
        )
    if wanted is not Format.GGUF or opened.path.is_file():
        return opened.path
    files = sorted(opened.path.glob("*.gguf"))
    if len(files) != 1:
        what = f"{spec.model.uri}: {len(files)} .gguf files at the top of the folder instead of one"
        raise StageError(FailureReason.MODEL_INVALID, what, "name the file itself in the URI")
    return files[0]
