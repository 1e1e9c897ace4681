"""Before an engine starts: the model is verified, and it is one that the engine serves."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from speechless.api import supervise
from speechless.contract import (
    BaseModelInfo,
    FailureReason,
    Format,
    ModelInfo,
    QuantizationInfo,
    ServeEngine,
    ServeSpec,
    Source,
    StageResult,
    engines,
    needs,
)
from speechless.errors import StageError
from speechless.generate.llamacpp.tools import BIN_VARIABLE
from speechless.stage import serve
from speechless.store import Access, ManifestFields, store_for
from tests.support.gguf import write_gguf
from tests.support.model_files import AWQ as QUANTIZED
from tests.support.model_files import write_model
from tests.support.ports import free_port
from tests.unit.store import NOWHERE


def published(
    tmp_path: Path, name: str, held: Format, model: ModelInfo | None = None, content: str | None = None
) -> ServeSpec:
    """A spec to serve an artifact that holds one file; `model`: what its manifest says of it."""
    (tmp_path / "work").mkdir()
    write_gguf(tmp_path / "work" / name) if held is Format.GGUF else (tmp_path / "work" / name).write_text(
        "{}"
    )
    if content is not None:
        (tmp_path / "work" / name).write_text(content)
    uri = (tmp_path / "model").as_uri()
    store_for(uri).publish(tmp_path / "work", uri, ManifestFields(format=held, model=model))
    return ServeSpec(model=Source(uri=uri), model_name="tiny")


def opened_path(spec: ServeSpec) -> Path:
    return serve.model_path(spec, store_for(spec.model.uri, Access(spec.mounts)).open(spec.model, NOWHERE))


def test_llama_cpp_gets_the_file(tmp_path: Path) -> None:
    assert opened_path(published(tmp_path, "tiny.Q8_0.gguf", Format.GGUF)).name == "tiny.Q8_0.gguf"


def test_transformers_gets_the_folder(tmp_path: Path) -> None:
    spec = published(tmp_path, "config.json", Format.HUGGING_FACE)
    assert opened_path(spec.model_copy(update={"engine": ServeEngine.TRANSFORMERS})) == tmp_path / "model"


@pytest.mark.parametrize(
    ("name", "held", "engine", "hint"),
    [
        ("config.json", Format.HUGGING_FACE, ServeEngine.LLAMA_CPP, "quantize the model"),
        ("tiny.gguf", Format.GGUF, ServeEngine.TRANSFORMERS, "LlamaCpp"),
        ("adapter_config.json", Format.ADAPTER, ServeEngine.TRANSFORMERS, ""),
    ],
)
def test_a_format_that_the_engine_does_not_serve_is_refused(
    tmp_path: Path, name: str, held: Format, engine: ServeEngine, hint: str
) -> None:
    spec = published(tmp_path, name, held).model_copy(update={"engine": engine})
    with pytest.raises(StageError, match=f"format is {held}, {engine} serves") as caught:
        opened_path(spec)
    assert caught.value.reason is FailureReason.MODEL_INVALID
    assert hint in caught.value.hint


AWQ = ModelInfo(
    quantization=QuantizationInfo(method="awq", bits=4), base_model=BaseModelInfo(name="org/base")
)


def test_a_quantization_that_the_engine_does_not_serve_is_refused(tmp_path: Path) -> None:
    spec = published(tmp_path, "config.json", Format.HUGGING_FACE, AWQ)
    with pytest.raises(StageError, match=r"quantized already \(awq, 4 bits\), Transformers serves") as caught:
        opened_path(spec.model_copy(update={"engine": ServeEngine.TRANSFORMERS}))
    assert caught.value.reason is FailureReason.MODEL_INVALID
    assert "org/base" in caught.value.hint


def test_a_folder_that_is_no_artifact_is_looked_at_as_well(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", quantization_config=dict(QUANTIZED))
    spec = ServeSpec(model=Source(uri=folder.as_uri()), model_name="m", engine=ServeEngine.TRANSFORMERS.value)
    with pytest.raises(StageError, match="awq"):
        opened_path(spec)
    (folder / "config.json").write_text("{}")
    assert opened_path(spec) == folder


def test_another_engine_that_serves_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = engines.ENGINES
    other = replace(rows["Transformers"], name="Other", quantizations=("awq",))
    monkeypatch.setitem(rows, "Other", other)
    problem = needs.serving_problem(rows["Transformers"], Format.HUGGING_FACE, AWQ)
    assert problem
    assert problem.hint.endswith("; or choose the engine Other")
    assert needs.serving_problem(other, Format.HUGGING_FACE, AWQ) is None


def test_a_context_that_the_model_does_not_have_is_refused(tmp_path: Path) -> None:
    spec = published(tmp_path, "tiny.gguf", Format.GGUF)
    assert opened_path(spec.model_copy(update={"context_length": 256})).is_file()
    with pytest.raises(
        StageError, match=r"contextLength: 257, and file:.* was trained for 256 tokens"
    ) as caught:
        opened_path(spec.model_copy(update={"context_length": 257}))
    assert caught.value.reason is FailureReason.INVALID_SPEC


def never(*_: object, **__: object) -> None:
    pytest.fail("an engine was started")


def test_an_altered_model_never_reaches_an_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = published(tmp_path, "tiny.gguf", Format.GGUF, content="weights")
    (tmp_path / "model" / "tiny.gguf").write_text("poison")
    monkeypatch.setattr(serve.os, "execvpe", never)
    monkeypatch.setattr("speechless.api.supervise.run", never)
    with pytest.raises(StageError, match=r"tiny\.gguf: 6 bytes instead of 7") as caught:
        serve.serve(spec)
    assert caught.value.reason is FailureReason.DIGEST_MISMATCH


def test_an_engine_that_cannot_be_started_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: str, *_: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", file)

    spec = published(tmp_path, "config.json", Format.HUGGING_FACE)
    monkeypatch.setattr(serve.os, "execvpe", refuse)
    with pytest.raises(StageError, match=r"cannot be started: .*: No such file") as caught:
        serve.serve(spec.model_copy(update={"engine": ServeEngine.TRANSFORMERS.value}))
    assert caught.value.reason is FailureReason.INVALID_SPEC


def test_an_engine_that_drains_by_itself_takes_the_stages_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    became: list[list[str]] = []
    spec = published(tmp_path, "config.json", Format.HUGGING_FACE)
    monkeypatch.setattr(serve.os, "execvpe", lambda _, argv, __: became.append(argv))
    monkeypatch.setattr("speechless.api.supervise.run", lambda *_, **__: 0)
    serve.serve(spec.model_copy(update={"engine": ServeEngine.TRANSFORMERS.value}))
    assert became[0][1:4] == ["-m", "speechless.api.server", "start"]


def test_arguments_do_not_come_in_by_the_environment(caplog: pytest.LogCaptureFixture) -> None:
    row = engines.ENGINES["LlamaCpp"]
    kept = serve.engine_environment(row, {"LLAMA_ARG_MODEL_URL": "http://x", "LLAMA_API_KEY": "k", "A": "b"})
    assert kept == {"LLAMA_API_KEY": "k", "A": "b"}
    assert "LLAMA_ARG_MODEL_URL" in caplog.text


# --------------------------------------------------------------------------------------- as its own process, like a pod

SERVER = f"""#!{sys.executable}
import json, os, pathlib, signal, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

folder = pathlib.Path({{folder!r}})
print("on stdout", *sys.argv[1:3], flush=True)
if (folder / "exit").exists():
    sys.exit(int((folder / "exit").read_text()))
if (folder / "kill").exists():
    os.kill(os.getpid(), signal.SIGKILL)

class Slots(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps([{{{{"is_processing": not (folder / "answered").exists()}}}}]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        (folder / "asked").touch()

def stop(*_):
    print("stopped", flush=True)
    os._exit(0)

signal.signal(signal.SIGTERM, stop)
server = HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Slots)
(folder / "listens").touch()
server.serve_forever()
"""


@contextmanager
def serving(tmp_path: Path, **settings: object) -> Iterator[subprocess.Popen[str]]:
    """The stage with a llama-server that does what the files in `tmp_path` say."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "llama-server"
    program.write_text(SERVER.format(folder=str(tmp_path)))
    program.chmod(0o755)
    spec = published(tmp_path, "tiny.gguf", Format.GGUF).model_copy(update={"port": free_port(), **settings})
    (tmp_path / "stage.json").write_text(spec.to_json())
    environment = os.environ | {
        BIN_VARIABLE: str(tmp_path / "bin"),
        "SPEECHLESS_TERMINATION_LOG": str(tmp_path / "message"),
    }
    argv = [sys.executable, "-m", "speechless.stage", "serve", "--spec", str(tmp_path / "stage.json")]
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def await_file(path: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a file is there; the process must not end before."""
    while not path.exists():
        assert process.poll() is None
        time.sleep(0.02)


def test_requests_that_are_under_way_are_finished(tmp_path: Path) -> None:
    with serving(tmp_path) as stage:
        await_file(tmp_path / "listens", stage)
        stage.send_signal(signal.SIGTERM)
        await_file(tmp_path / "asked", stage)  # it is asked which slots are busy, and not ended
        (tmp_path / "answered").touch()
        said, _ = stage.communicate(timeout=60)
    assert stage.returncode == 0
    assert said.splitlines() == [f"on stdout --model {tmp_path}/model/tiny.gguf", "stopped"]


def test_what_takes_longer_than_the_service_allows_is_cut_off(tmp_path: Path) -> None:
    """The slot stays busy for ever."""
    with serving(tmp_path, drain_seconds=1) as stage:
        await_file(tmp_path / "listens", stage)
        stage.send_signal(signal.SIGTERM)
        said, _ = stage.communicate(timeout=40)  # the engine's own time is longer
    assert (tmp_path / "asked").exists()
    assert stage.returncode == 0
    assert said.splitlines()[-1] == "stopped"


def test_a_signal_that_came_before_the_engine_ends_it() -> None:
    asked = supervise.Asked()
    asked.by = signal.SIGTERM
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        status = supervise.run(
            [sys.executable, "-c", "import time; time.sleep(600)"],
            "http://127.0.0.1:9",
            environment={},
            key=None,
            drain_seconds=5,
            asked=asked,
        )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert status == 0


@pytest.mark.parametrize(("how", "status"), [("exit", 3), ("kill", 137)])
def test_an_engine_that_ends_by_itself_gives_its_exit_status(tmp_path: Path, how: str, status: int) -> None:
    (tmp_path / how).write_text("3")
    with serving(tmp_path) as stage:
        stage.communicate(timeout=60)
    assert stage.returncode == status
    assert not (tmp_path / "message").exists()


def test_a_signal_before_the_engine_is_started_is_an_interruption(tmp_path: Path) -> None:
    spec = {
        "stage": "serve",
        "model": {"uri": (tmp_path / "nothing").as_uri(), "waitSeconds": 3600},
        "modelName": "tiny",
    }
    (tmp_path / "stage.json").write_text(json.dumps(spec))
    message, log = tmp_path / "message", tmp_path / "log"
    argv = [sys.executable, "-m", "speechless.stage", "serve", "--spec", str(tmp_path / "stage.json")]
    environment = os.environ | {"SPEECHLESS_TERMINATION_LOG": str(message)}
    with log.open("w") as stderr, subprocess.Popen(argv, env=environment, stderr=stderr, text=True) as run:
        while "waiting up to" not in log.read_text():
            assert run.poll() is None, log.read_text()
            time.sleep(0.02)
        run.send_signal(signal.SIGTERM)
        assert run.wait(timeout=60) == 75
    result = StageResult.model_validate_json(message.read_text())
    assert result.failure
    assert result.failure.reason is FailureReason.INTERRUPTED
