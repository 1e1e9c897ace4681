"""From the files of a model to what is known of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from speechless.contract import FailureReason, Format, ModelInfo
from speechless.errors import StageError
from speechless.models import READERS, read_info
from tests.support.gguf import write_gguf
from tests.support.model_files import AWQ, WEIGHTS, Tensors, write_adapter, write_model, write_safetensors

CARD = """---
license: apache-2.0
base_model:
- org/base
tags: [a, b]
model-index:
- name: x
---
# Text
license: mit
"""


def read(path: Path, form: Format = Format.HUGGING_FACE) -> dict[str, Any]:
    info = read_info(path, form)
    assert info
    return info.to_plain()


def test_a_hugging_face_folder(tmp_path: Path) -> None:
    assert read(write_model(tmp_path / "m", card=CARD)) == {
        "architecture": "LlamaForCausalLM",
        "parameters": 512 * 64 + 64,
        "dtype": "bfloat16",
        "contextLength": 2048,
        "vocabularySize": 512,
        "chatTemplate": True,
        "eosTokenIds": [2],
        "license": "apache-2.0",
        "baseModel": {"name": "org/base"},
    }


def test_weights_in_shards_are_those_of_the_index(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    for number, name in enumerate(names):
        write_safetensors(folder / name, {f"{number}.weight": ("F16", (10, 10))})
    write_safetensors(folder / "consolidated.safetensors", {"all": ("F16", (20, 10))})
    index = {"weight_map": {"0.weight": names[0], "1.weight": names[1]}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    told = read(folder)
    assert (told["parameters"], told["dtype"]) == (200, "float16")
    (folder / names[1]).unlink()
    assert "parameters" not in read(folder)


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"torch_dtype": "torch.float16"}, {}),
        ({"text_config": {"max_position_embeddings": 99, "vocab_size": 7, "eos_token_id": [4, 4, 5]}},
         {"contextLength": 99, "vocabularySize": 7, "eosTokenIds": [4, 5]}),
        ({"max_position_embeddings": None, "n_positions": 1024}, {"contextLength": 1024}),
        ({"architectures": ["a b"], "vocab_size": -1, "eos_token_id": "x"},
         {"architecture": None, "vocabularySize": None, "eosTokenIds": None}),
        ({"architectures": "Llama", "max_position_embeddings": 1e300},
         {"architecture": None, "contextLength": None}),
    ],
)  # fmt: skip
def test_what_a_configuration_may_say(tmp_path: Path, config: dict[str, Any], found: dict[str, Any]) -> None:
    told = read(write_model(tmp_path / "m", **config))
    assert {name: told.get(name) for name in found} == found


PACKED = {
    "model.embed_tokens.weight": ("F16", (100, 64)),
    "q.qweight": ("I32", (64, 8)),
    "q.qzeros": ("I32", (1, 8)),
    "q.scales": ("F16", (1, 64)),
}


@pytest.mark.parametrize(
    ("told", "tensors", "found", "parameters"),
    [
        (AWQ, PACKED, {"method": "awq", "bits": 4, "groupSize": 128}, 100 * 64 + 64 * 64),
        ({"quant_method": "gptq", "bits": 3, "group_size": -1}, {"q.qweight": ("I32", (6, 64))},
         {"method": "gptq", "bits": 3}, 4096),
        ({"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]},
         {"q.weight": ("F8_E4M3", (64, 64)), "q.weight_scale_inv": ("F32", (1, 1))},
         {"method": "fp8", "type": "e4m3", "bits": 8}, 4096),
        ({"quant_method": "compressed-tensors", "format": "pack-quantized",
          "config_groups": {"group_0": {"weights": {"num_bits": 4, "group_size": 32}}}},
         {"q.weight_packed": ("I32", (64, 8)), "q.weight_shape": ("I64", (2,)), "q.weight_scale": ("BF16", (64, 2))},
         {"method": "compressed-tensors", "type": "pack-quantized", "bits": 4, "groupSize": 32}, 4096),
        ({"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
         {"q.weight": ("U8", (2048, 1)), "q.weight.absmax": ("U8", (64,)),
          "q.weight.quant_state.bitsandbytes__nf4": ("U8", (90,))},
         {"method": "bitsandbytes", "type": "nf4", "bits": 4}, 4096),
        ({"quant_method": "mxfp4"}, {"e.down_proj_blocks": ("U8", (64, 32)), "e.down_proj_scales": ("U8", (64, 1))},
         {"method": "mxfp4", "bits": 4}, 4096),
        ({"quant_method": "quanto", "weights": "int8"}, {"q.weight._data": ("I8", (64, 64))},
         {"method": "quanto"}, None),
        ("surprise", WEIGHTS, {"method": "surprise"}, 512 * 64 + 64),
        ({"a": 1}, WEIGHTS, {"method": "unknown"}, 512 * 64 + 64),
    ],
)  # fmt: skip
def test_a_quantized_folder(
    tmp_path: Path, told: Any, tensors: Any, found: dict[str, Any], parameters: int | None
) -> None:
    info = read(write_model(tmp_path / "m", tensors, quantization_config=told))
    assert info["quantization"] == found
    assert info.get("parameters") == parameters
    assert info["dtype"] == "bfloat16"


def test_a_part_of_a_model_may_be_the_quantized_one(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", text_config={"quantization_config": dict(AWQ)})
    assert read(folder)["quantization"]["method"] == "awq"
    assert "quantization" not in read(write_model(tmp_path / "n", quantization_config=None))


@pytest.mark.parametrize(
    ("file", "told", "found"),
    [
        ("quantize_config.json", {"bits": 4, "group_size": 128, "desc_act": False},
         {"method": "gptq", "bits": 4, "groupSize": 128}),
        ("quant_config.json", {"w_bit": 4, "q_group_size": 64, "zero_point": True},
         {"method": "awq", "bits": 4, "groupSize": 64}),
        ("quanto_qmap.json", {"model.layers.0.mlp.up_proj": {"weights": "qint8"}}, {"method": "quanto"}),
        ("qmodel.pt", {}, {"method": "hqq"}),
        ("quant_config.json", {}, {"method": "awq"}),
        ("hf_quant_config.json", {"producer": {}, "quantization": {"quant_algo": "NVFP4", "group_size": 16}},
         {"method": "modelopt", "type": "NVFP4", "groupSize": 16}),
    ],
)  # fmt: skip
def test_older_tools_tell_it_in_a_file_of_their_own(
    tmp_path: Path, file: str, told: Any, found: dict[str, Any]
) -> None:
    folder = write_model(tmp_path / "m")
    (folder / file).write_text(json.dumps(told))
    assert read(folder)["quantization"] == found


@pytest.mark.parametrize(
    ("key", "told", "method"),
    [
        ("quantization_config", {"bits": 4}, "unknown"),
        ("compression_config", {"format": "pack-quantized"}, "compressed-tensors"),
        ("quantization", {"group_size": 64, "bits": 4}, "mlx"),
    ],
)
def test_each_tools_key_of_the_configuration(tmp_path: Path, key: str, told: Any, method: str) -> None:
    assert read(write_model(tmp_path / "m", **{key: told}))["quantization"]["method"] == method


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        ("model.layers.0.mlp.up_proj.weight", "F8_E4M3"),
        ("model.layers.0.mlp.up_proj.qweight", "I32"),
        ("model.layers.0.mlp.up_proj.weight", "I8"),
    ],
)
def test_weights_may_be_quantized_without_a_file_that_tells(tmp_path: Path, name: str, type_: str) -> None:
    tensors: Tensors = {**WEIGHTS, name: (type_, (4, 4))}
    assert read(write_model(tmp_path / "m", tensors))["quantization"]["method"] == "unknown"
    assert "quantization" not in read(write_model(tmp_path / "n", {**WEIGHTS, "mask": ("I8", (4, 4))}))


def test_whether_there_is_a_chat_template(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "tokenizer_config.json").write_text("{}")
    assert read(folder)["chatTemplate"] is False
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert read(folder)["chatTemplate"] is True
    for name in ("tokenizer_config.json", "tokenizer.json", "chat_template.jinja"):
        (folder / name).unlink()
    assert "chatTemplate" not in read(folder)


@pytest.mark.parametrize(
    ("card", "license", "base"),
    [
        ("---\nlicense: other\nlicense_name: 'qwen'  # see LICENSE\nbase_model: \"a/b\"\n---\n", "qwen", "a/b"),
        ("---\r\nlicense: [mit, apache-2.0]\r\n---\r\n", "mit AND apache-2.0", None),
        ("---\nlicense:\n  - mit\nbase_model:\n  name: x\n---", "mit", None),
        ("---\nlicense: {a: b}\n---\n", None, None),
        ("# no header\nlicense: mit\n", None, None),
        ("---\nlicense: mit\n", None, None),
        ("---\n" + "x: y\n" * 20_000 + "license: mit\n---\n", None, None),
        (f"---\nlicense: {'x' * 600}\n---\n", None, None),
    ],
)  # fmt: skip
def test_a_model_card(tmp_path: Path, card: str, license: str | None, base: str | None) -> None:
    told = read(write_model(tmp_path / "m", card=card))
    assert (told.get("license"), told.get("baseModel", {}).get("name")) == (license, base)


def test_an_adapter(tmp_path: Path) -> None:
    assert read(write_adapter(tmp_path / "a"), Format.ADAPTER) == {
        "parameters": 512,
        "dtype": "float32",
        "baseModel": {"name": "org/base"},
        "adapter": {"type": "LORA", "rank": 8},
    }


@pytest.mark.parametrize(
    ("config", "labels"),
    [
        ({"architectures": ["LlamaForSequenceClassification"], "id2label": {"0": "LABEL_0"}}, 1),
        (
            {"architectures": ["LlamaForSequenceClassification"], "id2label": {"0": "a", "1": "b", "2": "c"}},
            3,
        ),
        ({"architectures": ["LlamaForSequenceClassification"], "num_labels": 1}, 1),
        ({"architectures": ["LlamaForSequenceClassification"]}, 2),
        ({"architectures": ["LlamaForCausalLM"], "id2label": {"0": "LABEL_0"}}, None),
        ({"architectures": [7]}, None),
    ],
)
def test_how_many_numbers_a_model_gives_a_text(
    tmp_path: Path, config: dict[str, Any], labels: int | None
) -> None:
    assert read(write_model(tmp_path / "m", **config), Format.HUGGING_FACE).get("labels") == labels


def test_an_adapter_with_the_head_of_a_reward_model(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "a")
    config = json.loads((folder / "adapter_config.json").read_text())
    told = {"task_type": "SEQ_CLS", "modules_to_save": ["score"]}
    (folder / "adapter_config.json").write_text(json.dumps(config | told))
    head: Tensors = {"base_model.model.score.weight": ("F32", (1, 64)), "q.lora_A.weight": ("F32", (8, 64))}
    write_safetensors(folder / "adapter_model.safetensors", head)
    assert read(folder, Format.ADAPTER)["labels"] == 1
    (folder / "adapter_config.json").write_text(json.dumps(config | told | {"modules_to_save": None}))
    assert "labels" not in read(folder, Format.ADAPTER)


def test_a_gguf_file(tmp_path: Path) -> None:
    tensors = [("token_embd.weight", (256, 400), "Q6_K"), ("a", (256, 8), "Q4_K"), ("norm", (256,), "F32")]
    file = write_gguf(
        tmp_path / "m.gguf",
        tensors,
        {
            "general.file_type": 15,
            "general.license": "mit",
            "general.base_model.0.name": "Base",
            "general.base_model.0.repo_url": "https://huggingface.co/org/base",
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.tokens": ["<s>", "a"],
            "tokenizer.ggml.eos_token_id": 0,
            "tokenizer.chat_template": "{{ messages }}",
        },
    )
    with file.open("ab") as more:
        more.write(bytes(90_000))
    told = read(file, Format.GGUF)
    assert 6.8 < told["quantization"].pop("bits") < 6.9
    assert told == {
        "architecture": "llama",
        "parameters": 256 * 409,
        "contextLength": 256,
        "vocabularySize": 2,
        "quantization": {"method": "gguf", "type": "Q4_K_M"},
        "chatTemplate": True,
        "eosTokenIds": [0],
        "license": "mit",
        "baseModel": {"name": "https://huggingface.co/org/base"},
    }
    assert read(tmp_path, Format.GGUF)["architecture"] == "llama"


def test_floats_in_a_gguf_file_are_not_quantized(tmp_path: Path) -> None:
    file = write_gguf(
        tmp_path / "m.gguf", [("a", (64, 64), "F16"), ("norm", (64,), "F32")], {"general.file_type": 15}
    )
    told = read(file, Format.GGUF)
    assert told["dtype"] == "float16"
    assert "quantization" not in told


def test_an_adapter_in_a_gguf_file(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "m.gguf", metadata={"general.type": "adapter", "adapter.type": "lora"})
    assert read(file, Format.GGUF)["adapter"] == {"type": "LORA"}


def test_the_shards_of_a_gguf_file_are_one_model(tmp_path: Path) -> None:
    files = [
        write_gguf(tmp_path / f"m[1]-0000{number}-of-00002.gguf", [(f"a{number}", (64, 64), "F16")])
        for number in (1, 2)
    ]
    assert (
        read(tmp_path, Format.GGUF)["parameters"] == read(files[0], Format.GGUF)["parameters"] == 2 * 64 * 64
    )
    files[1].unlink()
    assert read_info(tmp_path, Format.GGUF) is None


def test_of_several_models_nothing_is_known(tmp_path: Path) -> None:
    write_gguf(tmp_path / "a.gguf")
    write_gguf(tmp_path / "b.gguf")
    assert read_info(tmp_path, Format.GGUF) is None


def test_what_is_no_model_has_no_reader(tmp_path: Path) -> None:
    assert read_info(tmp_path, Format.DATASET) is read_info(tmp_path, Format.REPORT) is None
    assert set(READERS) == set(Format) - {Format.DATASET, Format.REPORT}


# ------------------------------------------------------------------------------------------------------- broken files


def bytes_of(length: int, header: bytes) -> bytes:
    return length.to_bytes(8, "little") + header


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.json", b"weights", "config.json: no JSON"),
        ("config.json", b"[" * 100_000, "config.json: no JSON"),
        ("config.json", b"[]", "a JSON list instead of an object"),
        ("config.json", b"\xff\xfe", "config.json: no JSON"),
        ("tokenizer_config.json", b"{", "tokenizer_config.json: no JSON"),
        ("model.safetensors", b"", "a header of 0 bytes in a file of 0"),
        ("model.safetensors", bytes_of(1 << 60, b"{}"), f"a header of {1 << 60} bytes in a file of 10"),
        ("model.safetensors", bytes_of(3, b"{}"), "a header of 3 bytes in a file of 10"),
        ("model.safetensors", bytes_of(2, b"[]"), "no safetensors header"),
        ("model.safetensors", bytes_of(8, b'{"a": 1}'), "no safetensors header"),
        ("model.safetensors",
         bytes_of(60, b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}'.ljust(60)), "its shape is [-1]"),
        ("model.safetensors",
         bytes_of(60, b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}'.ljust(60)), "torn: 68 bytes"),
        ("model.safetensors",
         bytes_of(60, b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(60)) + bytes(5),
         "torn: 73 bytes"),
        ("model.safetensors", b"version https://git-lfs.github.com/spec/v1", "a pointer of Git LFS"),
        ("model.safetensors.index.json", b'{"weight_map": {"a": "../b.safetensors"}}', "not in the same folder"),
    ],
)  # fmt: skip
def test_a_broken_file_is_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    folder = write_model(tmp_path / "m")
    (folder / name).write_bytes(content)
    with pytest.raises(StageError) as caught:
        read_info(folder, Format.HUGGING_FACE)
    assert caught.value.reason is FailureReason.MODEL_INVALID
    assert f"m/{name}: " in caught.value.message
    assert said in caught.value.message


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    with pytest.raises(StageError, match=r"config\.json: Is a directory"):
        read_info(tmp_path, Format.HUGGING_FACE)


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    with (folder / "config.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(StageError, match="larger than 64 MiB"):
        read_info(folder, Format.HUGGING_FACE)


def test_nothing_known_is_written_as_nothing() -> None:
    assert ModelInfo().to_plain() == {}
