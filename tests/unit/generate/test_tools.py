"""llama.cpp's programs are found and run; a shell script stands in for them."""

from pathlib import Path

import pytest

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.generate.llamacpp import tools
from speechless.generate.llamacpp.server import server_argv
from speechless.generate.llamacpp.tools import BIN_VARIABLE, find_tool, run_tool, tail


def script(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_the_variable_wins_over_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        script(tmp_path / name / "llama-x", "true")
    monkeypatch.setenv("PATH", str(tmp_path / "a"))
    monkeypatch.delenv(BIN_VARIABLE, raising=False)
    assert find_tool("llama-x") == tmp_path / "a" / "llama-x"
    assert find_tool("llama-y") is None
    monkeypatch.setenv(BIN_VARIABLE, str(tmp_path / "b"))
    assert find_tool("llama-x") == tmp_path / "b" / "llama-x"


def test_a_named_folder_without_the_program_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(BIN_VARIABLE, str(tmp_path))
    with pytest.raises(StageError, match="no program llama-x in this folder") as refused:
        find_tool("llama-x")
    assert refused.value.reason is FailureReason.INPUT_NOT_FOUND


def test_status_and_output_come_back(tmp_path: Path) -> None:
    pieces: list[str] = []
    program = script(tmp_path / "x", 'echo "$1"; echo err >&2; exit 3')
    assert run_tool([program, "a b;c"], on_output=pieces.append) == (3, "a b;c\nerr\n")
    assert "".join(pieces) == "a b;c\nerr\n"


def test_a_tool_is_ended_when_asked(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="x was interrupted") as stopped:
        run_tool([script(tmp_path / "x", "exec sleep 600")], stopping=lambda: True)
    assert stopped.value.reason is FailureReason.INTERRUPTED


def test_the_tail_is_short() -> None:
    assert tail("\n".join(map(str, range(100))), 2) == "98\n99"


def test_a_program_has_a_thread_for_each_cpu_that_it_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """llama.cpp counts the machine's: with more threads than time, all of them are stopped together."""
    monkeypatch.setattr(tools, "limited_cpus", lambda: 3)
    argv = server_argv(
        ["s"], Path("m"), alias="a", host="h", port=1, parallel=2, context_length=None, metrics=False
    )
    assert argv[argv.index("--threads") + 1] == "3"
    monkeypatch.setattr(tools, "limited_cpus", lambda: None)
    assert tools.thread_flags() == []


def test_the_server_gets_each_slot_its_context(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "limited_cpus", lambda: None)
    argv = server_argv(
        ["s", "t"], Path("m"), alias="a b", host="h", port=1, parallel=3, context_length=100, metrics=True
    )
    assert argv == [
        *("s", "t", "--model", "m", "--alias", "a b", "--host", "h", "--port", "1", "--parallel", "3"),
        *("--ctx-size", "300", "--metrics"),
    ]
    shared = server_argv(
        ["s"], Path("m"), alias="a", host="h", port=1, parallel=3, context_length=None, metrics=False
    )
    assert shared[-1] == "--kv-unified"
