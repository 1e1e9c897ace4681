"""What artifacts say of their models: along a chain of stages, and compared with what the libraries say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from speechless.contract import Format, Manifest, ModelInfo, StageResult
from speechless.models import gguf, gguf_info, read_info
from tests.library.needs import needs_converter

pytest_plugins = ("tests.library.model_fixtures",)
pytestmark = pytest.mark.timeout(900)


def stage(name: str, folder: Path, **spec: Any) -> StageResult:
    """Run a stage as a pod does."""
    told = {"stage": name, "workDir": str(folder / "work"), **spec}
    (folder / "stage.json").write_text(json.dumps(told))
    argv = [sys.executable, "-m", "speechless.stage", name, "--spec", folder / "stage.json"]
    argv += ["--listen", "127.0.0.1:0", "--result", folder / "result.json"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=600)
    assert (folder / "result.json").is_file(), done.stderr
    return StageResult.model_validate_json((folder / "result.json").read_text())


def described(result: StageResult) -> ModelInfo:
    """What the manifest of a stage's artifact says."""
    assert result.artifact, result.failure
    text = (Path(result.artifact.uri.removeprefix("file://")) / "speechless.json").read_text()
    info = Manifest.model_validate_json(text).model
    assert info
    assert result.artifact.model == info.summary()
    return info


def test_the_info_goes_along_a_chain(model: Path, tmp_path: Path) -> None:
    needs_converter()
    base = tmp_path / "base"
    base.mkdir()
    for file in model.iterdir():
        (base / file.name).write_bytes(file.read_bytes())
    (base / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    (tmp_path / "rows.jsonl").write_text('{"prompt": "sum of x", "completion": " return x"}\n' * 4)
    training = {
        "model": {"uri": base.as_uri()},
        "dataset": {"uri": (tmp_path / "rows.jsonl").as_uri()},
        "hyperparameters": {"maxSteps": 1, "maxLength": 64},
        "lora": {"r": 4},
    }
    whole = read_info(base, Format.HUGGING_FACE)
    assert whole

    result = stage("finetune", tmp_path, **training, merge=False, output=(tmp_path / "adapter").as_uri())
    adapter = described(result)
    assert adapter.adapter
    assert (adapter.adapter.type, adapter.adapter.rank, adapter.license) == ("LORA", 4, "apache-2.0")
    assert adapter.base_model
    assert (adapter.base_model.name, adapter.base_model.digest) == (base.as_uri(), result.inputs[0].digest)

    result = stage("finetune", tmp_path, **training, output=(tmp_path / "merged").as_uri())
    assert result.artifact
    merged = described(result)
    assert merged.base_model == adapter.base_model
    assert merged == whole.model_copy(update={"base_model": merged.base_model})

    given = {"uri": (tmp_path / "merged").as_uri(), "digest": result.artifact.digest}
    result = stage("quantize", tmp_path, model=given, type="Q8_0", output=(tmp_path / "small").as_uri())
    small = described(result)
    assert small.quantization
    assert (small.quantization.method, small.quantization.type) == ("gguf", "Q8_0")
    assert 8 < (small.quantization.bits or 0) < 9
    assert (small.parameters, small.context_length) == (merged.parameters, merged.context_length)
    assert (small.vocabulary_size, small.chat_template) == (merged.vocabulary_size, True)
    assert (small.license, small.eos_token_ids) == ("apache-2.0", merged.eos_token_ids)
    assert small.base_model
    assert small.base_model.digest == given["digest"]

    given = {"uri": (tmp_path / "small").as_uri()}
    result = stage("quantize", tmp_path, model=given, type="F16", output=(tmp_path / "no").as_uri())
    assert result.failure
    assert "its weights are quantized already (gguf, Q8_0" in result.failure.message
    assert f"the model that it was made from, {(tmp_path / 'merged').as_uri()}" in result.failure.hint


def test_a_folder_is_read_as_transformers_reads_it(model: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    info = read_info(model, Format.HUGGING_FACE)
    assert info
    loaded = AutoModelForCausalLM.from_pretrained(model, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
    assert info.parameters == loaded.num_parameters()
    assert info.architecture == type(loaded).__name__
    assert f"torch.{info.dtype}" == str(loaded.dtype)
    assert info.context_length == loaded.config.max_position_embeddings
    assert info.vocabulary_size == loaded.get_input_embeddings().num_embeddings
    assert info.eos_token_ids == (tokenizer.eos_token_id,)
    assert info.chat_template == bool(tokenizer.chat_template)


def test_the_names_of_gguf_are_those_of_its_package() -> None:
    constants = pytest.importorskip("gguf").constants
    types = {kind.value: kind.name for kind in constants.GGMLQuantizationType}
    assert {
        number: types.get(number, name) for number, name in gguf.TENSOR_TYPES.items()
    } == gguf.TENSOR_TYPES
    assert set(types) <= set(gguf.TENSOR_TYPES)
    files = {kind.value: kind.name.removeprefix("MOSTLY_") for kind in constants.LlamaFileType}
    floats = {"ALL_F32", "F16", "BF16", "GUESSED"}
    assert {number: name for number, name in files.items() if name not in floats} == gguf_info.FILE_TYPES
