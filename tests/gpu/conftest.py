"""Without a GPU the tests of this folder are skipped, and say so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.train import shapes
from tests.library import random_model


@pytest.fixture(autouse=True)
def gpu() -> None:
    """A GPU that computes in bfloat16, or a skip."""
    if not torch.cuda.is_available() or not torch.cuda.is_bf16_supported():
        pytest.skip("no GPU that computes in bfloat16: see tests/gpu/README.md")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama of random weights."""
    return random_model.make(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def shape_1b(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of 1.1 billion random weights."""
    return shapes.make(tmp_path_factory.mktemp("shape") / "1b", "1b")


@pytest.fixture(scope="session")
def shape_7b(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of 7.2 billion random weights."""
    return shapes.make(tmp_path_factory.mktemp("shape") / "7b", "7b")
