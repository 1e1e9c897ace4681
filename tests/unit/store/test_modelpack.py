"""What a registry is told of an artifact: ModelPack's configuration."""

import json
from typing import Any

import pytest

from speechless.contract import FileEntry, Format, Manifest, ModelInfo, QuantizationInfo, tree_digest
from speechless.store.modelpack import config_of

FILES = (FileEntry(path="model.safetensors", size=2, sha256="a" * 64),)


def config(model: ModelInfo | None) -> dict[str, Any]:
    told = Manifest(format=Format.HUGGING_FACE, digest=tree_digest(FILES), files=FILES, model=model)
    found = json.loads(config_of(told))
    assert found.pop("modelfs") == {"type": "layers", "diffIds": [f"sha256:{'a' * 64}"]}
    return found


@pytest.mark.parametrize(
    ("model", "descriptor", "technical"),
    [
        (None, {}, {}),
        (ModelInfo(), {}, {}),
        (
            ModelInfo(parameters=6_738_415_616, dtype="bfloat16", license="apache-2.0"),
            {"licenses": ["apache-2.0"]},
            {"paramSize": "6.7B", "precision": "bf16"},
        ),
        (
            ModelInfo(quantization=QuantizationInfo(method="gptq", bits=4), dtype="float8_e4m3fn"),
            {},
            {"quantization": "gptq", "precision": "float8_e4m3fn"},
        ),
    ],
)
def test_it_says_what_is_known(
    model: ModelInfo | None, descriptor: dict[str, Any], technical: dict[str, Any]
) -> None:
    assert config(model) == {"descriptor": descriptor, "config": {"format": "HuggingFace", **technical}}
