"""libgomp where the system has none: torch's is loaded, and torch is not imported for it."""

import ctypes
import sys
from pathlib import Path

import pytest

from speechless import openmp


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked for on a system without libgomp, beside a torch that brings it."""
    (tmp_path / "torch" / "lib").mkdir(parents=True)
    (tmp_path / "torch" / "__init__.py").write_text("raise AssertionError('torch is imported')\n")
    (tmp_path / "torch" / "lib" / openmp.LIBRARY).write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    asked: list[str] = []

    def load(name: str, mode: int = 0) -> None:
        asked.append(name)
        if name == openmp.LIBRARY:
            raise OSError(f"{name}: cannot open shared object file")
        assert mode == ctypes.RTLD_GLOBAL

    monkeypatch.setattr(ctypes, "CDLL", load)
    return asked


def test_torchs_library_is_loaded_where_the_system_has_none(loaded: list[str], tmp_path: Path) -> None:
    openmp.provide()
    assert loaded == [openmp.LIBRARY, str(tmp_path / "torch" / "lib" / openmp.LIBRARY)]
    assert "torch" not in sys.modules


def test_without_torch_whoever_needs_it_says_so(
    loaded: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch" / "lib" / openmp.LIBRARY).unlink()
    openmp.provide()
    assert loaded == [openmp.LIBRARY]


def test_the_systems_library_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(ctypes, "CDLL", lambda name, mode=0: asked.append(name))
    openmp.provide()
    assert asked == [openmp.LIBRARY]
