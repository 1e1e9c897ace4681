"""Where the published benchmarks' data lie: beside the checkout, never in it. Tests that need them skip without."""

import os
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data"
VARIABLE = "SPEECHLESS_TEST_DATA"


def benchmark(path: str) -> Path:
    """The file, or a skip that says where it was looked for."""
    folder = Path(os.environ.get(VARIABLE) or FOLDER)
    if not (folder / path).exists():
        pytest.skip(f"{path} is not in {folder}; {VARIABLE} names another folder with the benchmarks' data")
    return folder / path
