"""The converter is found, and Qwen2's rule is recognized in a tokenizer."""

import copy
from pathlib import Path
from typing import Any

import pytest

from speechless.errors import StageError
from speechless.quant import convert
from speechless.quant.convert import find_source
from speechless.quant.converter_main import QWEN2_RULES, is_qwen2

QWEN2: dict[str, Any] = {
    "type": "Sequence",
    "pretokenizers": [
        {
            "type": "Split",
            "pattern": {"Regex": next(iter(QWEN2_RULES))},
            "behavior": "Isolated",
            "invert": False,
        },
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
    ],
}


def test_qwen2_is_recognized() -> None:
    assert is_qwen2(QWEN2)


@pytest.mark.parametrize(
    ("index", "key", "value"),
    [
        (0, "pattern", {"Regex": r"\s+"}),
        (0, "pattern", {"String": " "}),
        (0, "behavior", "Removed"),
        (0, "invert", True),
        (1, "add_prefix_space", True),
        (1, "use_regex", True),
    ],
)
def test_anything_else_is_not(index: int, key: str, value: Any) -> None:
    other = copy.deepcopy(QWEN2)
    other["pretokenizers"][index][key] = value
    assert not is_qwen2(other)


def test_other_shapes_are_not() -> None:
    assert not is_qwen2(None)
    assert not is_qwen2({"type": "ByteLevel", "add_prefix_space": False, "use_regex": True})
    assert not is_qwen2({"type": "Sequence", "pretokenizers": QWEN2["pretokenizers"][:1]})


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No converter in the environment, the usual places or the cache of downloads."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in convert.SOURCE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(convert, "SOURCE_FOLDERS", ("/nonexistent",))


def source(folder: Path) -> Path:
    (folder / "conversion").mkdir(parents=True)
    (folder / "gguf-py").mkdir()
    (folder / convert.CONVERTER).touch()
    return folder


def test_what_is_named_is_taken(tmp_path: Path, nowhere: None, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = source(tmp_path / "a"), source(tmp_path / "b")
    with pytest.raises(StageError, match="was not found"):
        find_source()
    monkeypatch.setattr(convert, "SOURCE_FOLDERS", (str(first),))
    assert find_source() == first
    monkeypatch.setenv("LLAMACPP_ROOT", str(second))
    assert find_source() == second
    monkeypatch.setenv("SPEECHLESS_LLAMA_SRC", str(first))
    assert find_source() == first
    assert find_source(second) == second
    monkeypatch.setenv("SPEECHLESS_LLAMA_SRC", str(tmp_path))
    with pytest.raises(StageError, match=r"SPEECHLESS_LLAMA_SRC=.*no convert_hf_to_gguf\.py"):
        find_source()
