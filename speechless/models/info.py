"""What a model's files say of it: a table of the containers, and who reads each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from speechless.contract import FailureReason, Format, ModelInfo
from speechless.errors import StageError, words_of
from speechless.models import adapter, gguf_info, huggingface

READERS: dict[Format, Callable[[Path], ModelInfo | None]] = {
    Format.HUGGING_FACE: huggingface.read,
    Format.ADAPTER: adapter.read,
    Format.GGUF: gguf_info.read,
}


def read_info(path: Path, form: Format) -> ModelInfo | None:
    """What is known of the model at `path`, a folder or a file in format `form`, by headers and small files.

    None: it is no model, or nothing is known of it. StageError(MODEL_INVALID) for a file that is not what its name
    says, or that cannot be read.
    """
    reader = READERS.get(form)
    try:
        return reader(path) if reader else None
    except OSError as error:
        hint = "bring the model's files again"
        raise StageError(FailureReason.MODEL_INVALID, f"{path.name}: {words_of(error)}", hint) from error
