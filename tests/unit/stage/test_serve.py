"""Before an engine starts: the model is verified, and it is one that the engine serves."""

import errno
from pathlib import Path

import pytest

from speechless.contract import FailureReason, Format, ServeEngine, ServeSpec, Source
from speechless.errors import StageError
from speechless.stage import serve
from speechless.store import ManifestFields, store_for


def published(tmp_path: Path, name: str, held: Format) -> ServeSpec:
    """A spec to serve an artifact that holds one file."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / name).write_text("weights")
    uri = (tmp_path / "model").as_uri()
    store_for(uri, {}).publish(tmp_path / "work", uri, ManifestFields(format=held))
    return ServeSpec(model=Source(uri=uri), model_name="tiny")


def opened_path(spec: ServeSpec) -> Path:
    return serve.model_path(spec, store_for(spec.model.uri, spec.mounts).open(spec.model))


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


def test_an_altered_model_never_reaches_an_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = published(tmp_path, "tiny.gguf", Format.GGUF)
    (tmp_path / "model" / "tiny.gguf").write_text("poison")
    monkeypatch.setattr(serve.os, "execvp", lambda *_: pytest.fail("an engine was started"))
    with pytest.raises(StageError, match=r"tiny\.gguf: 6 bytes instead of 7") as caught:
        serve.serve(spec)
    assert caught.value.reason is FailureReason.DIGEST_MISMATCH


def test_an_engine_that_cannot_be_started_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: str, _: list[str]) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", file)

    spec = published(tmp_path, "tiny.gguf", Format.GGUF)
    monkeypatch.setattr(serve.os, "execvp", refuse)
    with pytest.raises(StageError, match=r"cannot be started: .*: No such file") as caught:
        serve.serve(spec)
    assert caught.value.reason is FailureReason.INVALID_SPEC
