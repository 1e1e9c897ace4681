"""Fixtures for tests that need a model: random weights, made once a run, as a folder and as a GGUF file."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from speechless.generate.llamacpp.tools import BIN_VARIABLE
from speechless.quant.convert import convert
from tests.library import random_model
from tests.library.needs import needs_converter


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder."""
    return random_model.make(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def f16(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model as a GGUF file of 16-bit floats."""
    needs_converter()
    target = tmp_path_factory.mktemp("gguf") / "tiny.F16.gguf"
    convert(model, target)
    return target


@pytest.fixture(scope="session")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text of some thousand tokens."""
    file = tmp_path_factory.mktemp("text") / "text.txt"
    file.write_text(random_model.text(2000, seed=5))
    return file


@pytest.fixture
def without_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it, and llama.cpp's programs are not found any more: as where only wheels are installed."""

    def hide() -> None:
        monkeypatch.delenv(BIN_VARIABLE, raising=False)
        if shutil.which("llama-server"):
            monkeypatch.setenv("PATH", str(tmp_path))

    return hide
