"""From a model's files to the back end that runs them."""

from pathlib import Path

from speechless.generate.base import Generator
from speechless.generate.files import ModelKind, check_files, find_model


def open_generator(
    model: Path, *, batch_size: int = 16, parallel: int = 1, context_length: int | None = None
) -> Generator:
    """Return the back end for a model, not yet loaded: enter it.

    `batch_size` prompts go through Transformers at a time, `parallel` through llama-server. Requests that llama-server
    batches as they happen to arrive can round differently from run to run: with `parallel=1` results repeat.
    `context_length`: tokens of prompt and completion together; None: as many as the model was trained for.
    StageError(MODEL_INVALID) for a model that its back end does not take, or whose files are not whole.
    """
    files = find_model(model)
    check_files(files)
    if files.kind is ModelKind.HUGGING_FACE:
        from speechless.generate.hf import HuggingFace

        return HuggingFace(files.path, batch_size=batch_size, context_length=context_length)
    from speechless.generate.llamacpp.server import LlamaServer
    from speechless.generate.llamacpp.tools import find_server

    return LlamaServer(files.path, program=find_server(), parallel=parallel, context_length=context_length)
