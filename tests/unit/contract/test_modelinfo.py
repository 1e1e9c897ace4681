"""What a manifest says of its model: read by every version, and no part of the digest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from speechless.contract import (
    AdapterInfo,
    Artifact,
    BaseModelInfo,
    FileEntry,
    Format,
    Manifest,
    ModelInfo,
    QuantizationInfo,
    tree_digest,
)
from speechless.contract.modelinfo import LONGEST_TEXT

FILES = (FileEntry(path="config.json", size=2, sha256="a" * 64),)
INFO = ModelInfo(
    architecture="LlamaForCausalLM",
    parameters=1_235_814_400,
    dtype="bfloat16",
    context_length=4096,
    vocabulary_size=128_256,
    quantization=QuantizationInfo(method="awq", bits=4, group_size=128),
    chat_template=False,
    eos_token_ids=(1, 2),
    license="apache-2.0",
    base_model=BaseModelInfo(name="hf://org/base", digest="sha256:" + "b" * 64),
    adapter=AdapterInfo(type="LORA", rank=8),
)
OLD = {
    "version": "v1",
    "format": "HuggingFace",
    "digest": tree_digest(FILES),
    "files": [{"path": "config.json", "size": 2, "sha256": "a" * 64}],
    "createdBy": "finetune demo/tuned 1a2b3c4d",
}
"""As a version wrote it that knew nothing of models."""


def test_it_comes_back_as_it_was() -> None:
    manifest = Manifest(format=Format.HUGGING_FACE, digest=tree_digest(FILES), files=FILES, model=INFO)
    assert Manifest.model_validate_json(manifest.to_json()) == manifest
    assert json.loads(manifest.to_json())["model"]["baseModel"]["name"] == "hf://org/base"


def test_an_old_manifest_is_read_and_written_as_it_was() -> None:
    manifest = Manifest.model_validate_json(json.dumps(OLD))
    assert manifest.model is None
    assert manifest.to_plain() == OLD


def test_the_digest_is_that_of_the_files_alone() -> None:
    manifest = Manifest.model_validate(OLD | {"model": INFO.to_plain()})
    assert manifest.digest == tree_digest(manifest.files) == OLD["digest"]


def test_what_a_later_version_adds_is_ignored() -> None:
    told = INFO.to_plain() | {"experts": 8}
    told["quantization"] |= {"symmetric": True}
    manifest = Manifest.model_validate_json(json.dumps(OLD | {"model": told, "energyJoules": 7}))
    assert manifest.model == INFO


@pytest.mark.parametrize(
    "change",
    [
        {"parameters": "1.2B"},
        {"quantization": "awq"},
        {"quantization": {"bits": 4}},
        {"architecture": "two words"},
        {"eosTokenIds": [1.5]},
        {"baseModel": {"digest": "x"}},
        {"license": "x" * (LONGEST_TEXT + 1)},
    ],
)
def test_if_a_part_is_garbled_nothing_is_known(change: dict[str, Any]) -> None:
    """Not that part alone: a model whose quantization cannot be read is none that is not quantized."""
    with pytest.raises(ValidationError):
        ModelInfo.model_validate(INFO.to_plain() | change)
    manifest = Manifest.model_validate_json(json.dumps(OLD | {"model": INFO.to_plain() | change}))
    assert (manifest.model, manifest.format) == (None, "HuggingFace")
    artifact = {"uri": "x", "digest": OLD["digest"], "sizeBytes": 1, "format": "GGUF", "model": change}
    assert Artifact.model_validate(artifact).model is None


@pytest.mark.parametrize("told", [None, "llama", [], 7])
def test_what_is_no_description_is_none(told: Any) -> None:
    assert Manifest.model_validate_json(json.dumps(OLD | {"model": told})).model is None


def test_a_result_tells_three_things() -> None:
    assert set(INFO.summary().to_plain()) == {"architecture", "parameters", "quantization"}


@pytest.mark.parametrize(
    ("info", "said"),
    [
        (INFO, "LORA adapter of rank 8, LlamaForCausalLM, 1.2B parameters, awq, 4 bits, context of 4096 tokens, "
               "license apache-2.0"),
        (ModelInfo(parameters=512, dtype="float32"), "0.5K parameters, float32"),
        (ModelInfo(architecture="LlamaForSequenceClassification", labels=1),
         "reward model, LlamaForSequenceClassification"),
        (ModelInfo(adapter=AdapterInfo(type="LORA"), labels=3), "LORA adapter, classifier of 3 classes"),
        (ModelInfo(), ""),
    ],
)  # fmt: skip
def test_it_is_said_in_a_line(info: ModelInfo, said: str) -> None:
    assert info.said() == said
