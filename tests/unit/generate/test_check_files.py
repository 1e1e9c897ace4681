"""What is wrong with a model's files is told before anything is loaded: by `generate`, `eval` and `api` alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from speechless.api import server
from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.eval.humaneval import __main__ as humaneval
from speechless.generate import open_generator
from tests.support.model_files import AWQ, write_adapter, write_model, write_safetensors

WEIGHTS = "model.safetensors"


def torn(folder: Path) -> None:
    with (folder / WEIGHTS).open("r+b") as file:
        file.truncate((folder / WEIGHTS).stat().st_size - 1)


def pickled(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")


def lost(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "model-00001-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text(
        '{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}'
    )


def packed(folder: Path) -> None:
    write_safetensors(folder / WEIGHTS, {"model.layers.0.q_proj.qweight": ("I32", (4, 4))})


CASES: list[tuple[Callable[[Path], Any], str]] = [
    (torn, "base/model.safetensors: torn: "),
    (pickled, r"base: its weights are pickled \(pytorch_model.bin\), and pickles are never read"),
    (lost, "base: 1 of 2 files with weights are missing, such as model-00002-of-00002.safetensors"),
    (lambda folder: (folder / WEIGHTS).unlink(), "base: no weights: neither model.safetensors nor "),
    (
        lambda folder: write_model(folder, quantization_config=dict(AWQ)),
        r"base: its weights are quantized already \(awq",
    ),
    (packed, r"base: its weights are quantized already \(unknown\), Transformers serves weights as"),
    (write_adapter, "base: it holds config.json and adapter_config.json: a model, or an adapter?"),
]


@pytest.mark.parametrize(("spoil", "said"), CASES)
def test_a_folder_that_is_not_loaded(
    spoil: Callable[[Path], Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_model(tmp_path / "base")
    spoil(folder)
    with pytest.raises(StageError, match=said) as caught:
        open_generator(folder)
    assert caught.value.reason is FailureReason.MODEL_INVALID
    assert server.main(["start", "--model", str(folder), "--port", "5099"]) == 1
    error = capsys.readouterr().err
    assert caught.value.message in error
    assert error.count("\n") == 1
    words = ["--do_gen", "--model", str(folder), "--output_dir", str(tmp_path / "out")]
    data = tmp_path / "problems.jsonl"
    data.write_text(
        '{"task_id": "a/0", "prompt": "def f():\\n", "entry_point": "f", "test": "def check(f): pass"}\n'
    )
    assert humaneval.main([*words, "--data", str(data)]) == 1
    assert caught.value.message in capsys.readouterr().err


def test_a_torn_gguf_file_is_told_before_a_server_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF\x03\0\0\0" + b"\0" * 7)
    assert server.main(["start", "--model", str(tmp_path / "m.gguf"), "--port", "5099"]) == 1
    error = capsys.readouterr().err
    assert "m.gguf" in error
    assert error.count("\n") == 1
