"""Windows of a text, and what llama-perplexity prints; a script stands in for it."""

from pathlib import Path

import pytest

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.generate.llamacpp.tools import BIN_VARIABLE
from speechless.generate.perplexity import measure, read_text, window_for, windows
from tests.support.gguf import write_gguf


@pytest.mark.parametrize(
    ("tokens", "limit", "window"),
    [(100_000, None, 512), (100_000, 256, 256), (100_000, 300, 256), (1023, None, 256), (32, None, 16)],
)
def test_the_largest_window_that_fits_twice(tokens: int, limit: int | None, window: int) -> None:
    assert window_for(tokens, limit, "t") == window


def test_too_short_a_text_is_refused() -> None:
    with pytest.raises(StageError, match=r"t\.txt: 31 tokens are too few") as refused:
        window_for(31, None, "t.txt")
    assert refused.value.reason is FailureReason.DATASET_INVALID


def test_windows_are_whole_and_begin_alike() -> None:
    assert list(windows([1, 2, 3, 4, 5], 2, None)) == [[1, 2], [3, 4]]
    assert list(windows([1, 2, 3, 4, 5], 2, 0)) == [[0, 2], [0, 4]]


def test_a_text_must_be_utf8(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"a\n\n")
    assert read_text(tmp_path / "t.txt") == "a\n"
    (tmp_path / "t.txt").write_bytes(b"\xff")
    with pytest.raises(StageError, match="not UTF-8"):
        read_text(tmp_path / "t.txt")


WHOLE = 'echo "x: calculating perplexity over 3 chunks, n_ctx=$6"; printf "[1]2.0,[2]3.0,[3]2.5000,"'
LOST = 'echo "x: calculating perplexity over 3 chunks, n_ctx=$6"; printf "[1]2.0,[2]3.0,"'


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for the stand-in, with a model and a text."""
    monkeypatch.setenv(BIN_VARIABLE, str(tmp_path))
    write_gguf(tmp_path / "m.gguf")
    (tmp_path / "t.txt").write_text("words")
    return tmp_path


def stand_in(folder: Path, body: str) -> None:
    (folder / "llama-perplexity").write_text(f"#!/bin/sh\n{body}\n")
    (folder / "llama-perplexity").chmod(0o755)


def test_the_value_after_the_last_window_counts(tool: Path) -> None:
    stand_in(tool, WHOLE)
    seen: list[tuple[int, int]] = []
    found = measure(tool / "m.gguf", tool / "t.txt", progress=lambda done, total: seen.append((done, total)))
    assert (found.value, found.context, found.windows, found.tokens) == (2.5, 256, 3, 3 * 127)
    assert seen[-1] == (3, 3)


def test_lost_output_is_asked_for_again(tool: Path) -> None:
    stand_in(tool, f'if mkdir "{tool}/once" 2>/dev/null; then {LOST}; else {WHOLE}; fi')
    assert measure(tool / "m.gguf", tool / "t.txt").value == 2.5


def test_a_short_text_gets_a_smaller_window(tool: Path) -> None:
    short = (
        'if [ "$6" -gt 64 ]; then echo "the data file you provided tokenizes to only 150 tokens"; exit 0; fi'
    )
    stand_in(tool, f"{short}; {WHOLE}")
    assert measure(tool / "m.gguf", tool / "t.txt").context == 64


@pytest.mark.parametrize(
    ("body", "words"),
    [("echo boom; exit 5", "exit status 5\nboom"), (LOST, "ended 6 times without its last line")],
)
def test_a_tool_that_fails_is_an_error(tool: Path, body: str, words: str) -> None:
    stand_in(tool, body)
    with pytest.raises(StageError) as failed:
        measure(tool / "m.gguf", tool / "t.txt")
    assert words in failed.value.message


def test_a_value_that_is_no_number_is_an_error(tool: Path) -> None:
    stand_in(tool, WHOLE.replace("2.5000", "nan"))
    with pytest.raises(StageError, match=r"its perplexity on t\.txt is nan"):
        measure(tool / "m.gguf", tool / "t.txt")
