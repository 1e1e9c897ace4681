"""What a model's files are: a Hugging Face folder, or a GGUF file."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from speechless.contract import FailureReason, Format
from speechless.contract.engines import ENGINES, ServeEngine
from speechless.contract.needs import engine_need
from speechless.errors import StageError
from speechless.models import check


class ModelKind(StrEnum):
    """The two layouts that are told apart."""

    HUGGING_FACE = "HuggingFace"
    GGUF = "GGUF"


@dataclass(frozen=True)
class ModelFiles:
    """A model on disk."""

    kind: ModelKind
    path: Path
    """HuggingFace: the folder. GGUF: the file."""


NEEDS = {
    ModelKind.HUGGING_FACE: (Format.HUGGING_FACE, engine_need(ENGINES[ServeEngine.TRANSFORMERS])),
    ModelKind.GGUF: (Format.GGUF, engine_need(ENGINES[ServeEngine.LLAMA_CPP])),
}
"""What the back end of each takes."""


def check_files(files: ModelFiles) -> None:
    """StageError(MODEL_INVALID) where the back end would not load it, or would load something else: see `check`."""
    check(files.path, *NEEDS[files.kind])


def find_model(path: Path) -> ModelFiles:
    """Tell what `path` holds: a `.gguf` file, a folder with exactly one, or a folder with `config.json`.

    `StageError`: `INPUT_NOT_FOUND` where nothing is there, `MODEL_INVALID` where it is neither, or more than one.
    """
    if not path.exists():
        raise StageError(
            FailureReason.INPUT_NOT_FOUND, f"{path}: no such model", "Give a model's folder or a .gguf file."
        )
    if path.is_file():
        if path.suffix == ".gguf":
            return ModelFiles(ModelKind.GGUF, path)
        raise StageError(
            FailureReason.MODEL_INVALID, f"{path}: a file, but no .gguf file", "Give the model's folder."
        )
    ggufs = sorted(path.glob("*.gguf"))
    has_config = (path / "config.json").is_file()
    if len(ggufs) == 1 and not has_config:
        return ModelFiles(ModelKind.GGUF, ggufs[0])
    if has_config and not ggufs:
        return ModelFiles(ModelKind.HUGGING_FACE, path)
    if not ggufs:
        adapter = (
            " (it holds a PEFT adapter: merge it first)" if (path / "adapter_config.json").is_file() else ""
        )
        raise StageError(
            FailureReason.MODEL_INVALID,
            f"{path}: neither config.json nor a .gguf file{adapter}",
            "A model is a Hugging Face folder, or a folder with exactly one .gguf file.",
        )
    names = ", ".join([*(["config.json"] if has_config else []), *(file.name for file in ggufs)])
    raise StageError(
        FailureReason.MODEL_INVALID,
        f"{path}: more than one model ({names})",
        "Name the .gguf file itself, or leave one model in the folder.",
    )
