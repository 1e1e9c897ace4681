"""A model is told by its files."""

from pathlib import Path

import pytest

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.generate import ModelKind, find_model


def folder(path: Path, *names: str) -> Path:
    path.mkdir(exist_ok=True)
    for name in names:
        (path / name).touch()
    return path


def test_a_hugging_face_folder(tmp_path: Path) -> None:
    found = find_model(folder(tmp_path / "m", "config.json", "model.safetensors"))
    assert (found.kind, found.path) == (ModelKind.HUGGING_FACE, tmp_path / "m")


def test_a_gguf_file_and_a_folder_with_one(tmp_path: Path) -> None:
    file = folder(tmp_path / "m", "x.Q8_0.gguf", "speechless.json") / "x.Q8_0.gguf"
    assert find_model(file) == find_model(tmp_path / "m")
    assert (find_model(file).kind, find_model(file).path) == (ModelKind.GGUF, file)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "neither config.json nor a .gguf file"),
        (["adapter_config.json"], "merge it first"),
        (["a.gguf", "b.gguf"], "more than one model (a.gguf, b.gguf)"),
        (["config.json", "a.gguf"], "more than one model (config.json, a.gguf)"),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, names: list[str], words: str) -> None:
    with pytest.raises(StageError) as refused:
        find_model(folder(tmp_path / "m", *names))
    assert refused.value.reason is FailureReason.MODEL_INVALID
    assert words in refused.value.message


def test_what_is_not_there_and_what_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no such model") as refused:
        find_model(tmp_path / "none")
    assert refused.value.reason is FailureReason.INPUT_NOT_FOUND
    with pytest.raises(StageError, match=r"no \.gguf file"):
        find_model(folder(tmp_path, "a.bin") / "a.bin")
