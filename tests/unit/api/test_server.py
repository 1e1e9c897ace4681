"""`speechless api start`: flags, keys, refusals."""

from pathlib import Path

import pytest

from speechless.api.__main__ import main
from speechless.api.server import KEY_VARIABLE, build_parser, read_keys
from speechless.errors import StageError
from tests.support.commands import status_of
from tests.support.gguf import write_gguf


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


def test_the_documented_flags() -> None:
    given = build_parser().parse(["--model", "m", "--backbone", "llamacpp"])
    assert (given.port, given.host, given.log_level) == (5001, "0.0.0.0", "info")
    assert build_parser().parse(["--model_name_or_path", "m"]).model == "m"
    assert build_parser().parse(["--model", "m", "--model_family", "huggingface"]).backbone == "huggingface"


def test_keys_of_file_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys"
    file.write_text("\na \n\nb\n")
    assert read_keys(file) == ["a", "b"]
    monkeypatch.setenv(KEY_VARIABLE, "c")
    assert read_keys(file) == ["c", "a", "b"]
    assert read_keys(None) == ["c"]


def test_a_file_without_keys_does_not_open_the_door(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("\n")
    with pytest.raises(StageError, match="no key in it"):
        read_keys(tmp_path / "keys")
    with pytest.raises(StageError, match="no such file"):
        read_keys(tmp_path / "none")


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["start", "--model", "none"], 1, "none: no such model"),
        (["start", "--model", "m.gguf", "--backbone", "transformers"], 1, "serves a HuggingFace model"),
        (["start", "--model", "m.gguf", "--backbone", "vllm"], 2, "invalid choice"),
        (["start", "--model", "m.gguf", "--prot", "1"], 2, "unknown flag --prot; did you mean --port?"),
        (["start", "--model", "m.gguf", "--port", "70000"], 2, "--port: must be from 1 to 65535, not 70000"),
        (["stop", "--model", "m.gguf"], 2, "unknown argument stop"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    status: int,
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_gguf(tmp_path / "m.gguf")
    assert status_of(main, words) == status
    errors = capsys.readouterr().err
    assert told in errors
    assert len(errors.splitlines()) == 1
