"""The serve stage's command: a list of words, the user's last, and no shell anywhere."""

import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from speechless.api.engines import COMMANDS, command
from speechless.contract import ServeEngine, ServeSpec, Source, engines
from speechless.errors import StageError
from speechless.generate.llamacpp import tools, wheel
from speechless.generate.llamacpp.tools import BIN_VARIABLE

MODEL = Path("/models/m.gguf")


@pytest.fixture(autouse=True)
def all_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing limits the machine that runs the tests."""
    monkeypatch.setattr(tools, "limited_cpus", lambda: None)


def spec(**fields: object) -> ServeSpec:
    return ServeSpec.model_validate({"model": Source(uri="file:///m"), "model_name": "a; b", **fields})


def test_llama_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "llama-server").touch(mode=0o755)
    monkeypatch.setenv(BIN_VARIABLE, str(tmp_path))
    argv, _ = command(spec(parallel=2, context_length=128, engine_args=("--device", "$(x)")), MODEL)
    assert argv == [
        *(str(tmp_path / "llama-server"), "--model", str(MODEL), "--alias", "a; b"),
        *("--host", "0.0.0.0", "--port", "8080", "--parallel", "2", "--ctx-size", "256", "--metrics"),
        *("--device", "$(x)"),
    ]


def test_the_server_of_the_wheel_where_no_other_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(BIN_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(wheel, "installed", lambda: True)
    argv, _ = command(spec(port=9, context_length=64), MODEL)
    assert argv[:3] == [sys.executable, "-m", "speechless.generate.llamacpp.wheel"]
    assert argv[3:7] == ["--model", str(MODEL), "--alias", "a; b"]
    monkeypatch.setattr(wheel, "installed", lambda: False)
    with pytest.raises(StageError, match=r"neither .*llama-server nor the package xllamacpp") as refused:
        command(spec(), MODEL)
    assert "[serve]" in refused.value.hint


def test_in_process() -> None:
    argv, _ = command(spec(engine=ServeEngine.TRANSFORMERS, port=9, context_length=64), MODEL)
    assert argv == [
        *(sys.executable, "-m", "speechless.api.server", "start", "--backbone", "transformers"),
        *("--model", str(MODEL), "--model_name", "a; b", "--host", "0.0.0.0", "--port", "9"),
        *("--parallel", "1", "--drain_seconds", "45", "--context_length", "64"),
    ]
    longer, _ = command(spec(engine=ServeEngine.TRANSFORMERS, drain_seconds=600), MODEL)
    assert longer[longer.index("--drain_seconds") + 1] == "600"


def test_the_server_knows_these_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from speechless.api.server import build_parser

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(BIN_VARIABLE, raising=False)
    argv, _ = command(spec(engine=ServeEngine.TRANSFORMERS, context_length=64), MODEL)
    assert build_parser().parse(argv[4:]).model_name == "a; b"


def test_every_engine_has_a_command() -> None:
    assert set(COMMANDS) == set(engines.ENGINES)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--threads", "4", "--no-warmup", "--seed", "-1"], None),
        (["--lora", "x.gguf"], "--lora is not allowed for engine LlamaCpp; allowed: --threads, "),
        (["--host=::"], "--host=:: is not allowed"),
        (["--port", "1"], "--port is set by the operator"),
        (["--threads"], "--threads needs a value"),
        (["--threads", "--lora"], "--threads needs a value"),
        (["--no-warmup", "x.gguf"], "x.gguf is not allowed"),
    ],
)
def test_an_argument_must_not_change_what_answers(arguments: list[str], problem: str | None) -> None:
    said = engines.problem_of("LlamaCpp", arguments)
    assert (said is None) if problem is None else (said and problem in said)
    if problem is not None:
        with pytest.raises(ValidationError, match="engineArgs: "):
            spec(engine_args=arguments)
