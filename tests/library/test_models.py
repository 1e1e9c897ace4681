"""Model folders that a training is given: what cannot be trained is told before a step is made."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GenerationConfig

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.finetune import models
from speechless.finetune.models import found_by, load_model
from speechless.models.quantization import PLACES, Place

pytest_plugins = ("tests.library.model_fixtures",)
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
CANNOT_BE_SAVED = {"do_sample": False, "temperature": 0.6, "top_p": 0.9, "eos_token_id": 1, "pad_token_id": 0}
"""As Llama 2 and Vicuna came: Transformers reads it, and refuses to write it."""


@pytest.fixture
def folder(model: Path, tmp_path: Path) -> Path:
    """A copy that may be broken."""
    return Path(shutil.copytree(model, tmp_path / "base"))


def refused(folder: Path, told: str) -> StageError:
    with pytest.raises(StageError, match=told) as caught:
        load_model(folder)
    assert caught.value.reason is FailureReason.MODEL_INVALID
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value


def change(folder: Path, **keys: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **keys}))


def in_shards(folder: Path) -> list[Path]:
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    (folder / WEIGHTS).unlink()
    loaded.save_pretrained(folder, max_shard_size="1MB")
    return sorted(folder.glob("model-*.safetensors"))


@pytest.mark.parametrize("part", ["", "text_config"], ids=["top", "part"])
def test_a_base_that_is_quantized_already_is_refused(model: Path, tmp_path: Path, part: str) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "awq"))
    file = folder / "config.json"
    config = json.loads(file.read_text())
    (config.setdefault(part, {}) if part else config)["quantization_config"] = {
        "quant_method": "awq",
        "bits": 4,
    }
    file.write_text(json.dumps(config))
    with pytest.raises(StageError, match=r"awq: its weights are quantized already \(awq") as caught:
        load_model(folder)
    assert caught.value.reason is FailureReason.MODEL_INVALID


@pytest.mark.parametrize(
    ("key", "value", "method"),
    [
        ("quantization_config", {"quant_method": "hqq"}, "hqq"),
        ("quantization_config", {"quant_method": "compressed-tensors", "format": "pack-quantized"}, "compressed-ten"),
        ("quantization_config", {"bits": 4}, "unknown"),
        ("compression_config", {"format": "pack-quantized"}, "compressed-tensors"),
        ("quantization", {"group_size": 64, "bits": 4}, "mlx"),
    ],
)  # fmt: skip
def test_each_tools_words_for_quantized(folder: Path, key: str, value: object, method: str) -> None:
    change(folder, **{key: value})
    refused(folder, rf"base: its weights are quantized already \({method}")


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.file)
def test_each_tools_file_of_quantized_weights(folder: Path, place: Place) -> None:
    (folder / place.file).write_text("{}")
    refused(folder, rf"base: its weights are quantized already \({place.method}\)")


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("model.layers.0.mlp.up_proj.weight", torch.zeros(4, 4, dtype=torch.float8_e4m3fn)),
        ("model.layers.0.mlp.up_proj.qweight", torch.zeros(4, 4, dtype=torch.int32)),
        ("model.layers.0.mlp.up_proj.weight", torch.zeros(4, 4, dtype=torch.int8)),
    ],
)
def test_quantized_weights_of_which_no_file_tells(folder: Path, name: str, tensor: torch.Tensor) -> None:
    save_file({**load_file(folder / WEIGHTS), name: tensor}, folder / WEIGHTS, {"format": "pt"})
    refused(folder, r"quantized already \(unknown\)")


def test_a_gguf_file_is_told(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "model.Q4_K_M.gguf")
    refused(folder, r"those of a GGUF model \(model.Q4_K_M.gguf\)")


def test_pickled_weights_are_not_read_and_how_to_change_them_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = load_file(folder / WEIGHTS)
    torch.save({}, folder / "training_args.bin")
    # Two names for one weight, as in files of tied models; in two files.
    last = {
        "lm_head.weight": tensors["model.embed_tokens.weight"],
        "model.norm.weight": tensors["model.norm.weight"],
    }
    torch.save(
        {k: t for k, t in tensors.items() if k not in last}, folder / "pytorch_model-00001-of-00002.bin"
    )
    torch.save(last, folder / "pytorch_model-00002-of-00002.bin")
    (folder / WEIGHTS).unlink()
    error = refused(
        folder, r"its weights are pickled \(pytorch_model-00001-of-00002.bin\), and pickles are never read"
    )
    monkeypatch.chdir(folder)
    exec(error.hint.partition('python -c "')[2].rstrip('"'), {})
    load_model(folder)


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        (lambda whole: whole[:-1], "base/model.safetensors: torn: "),
        (lambda whole: whole + b"x", "base/model.safetensors: torn: "),
        (lambda whole: whole[:100], "torn: a header of"),
        (lambda _: b"", "a header of 0 bytes in a file of 0"),
        (lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a pointer of Git LFS"),
        (lambda _: b"\x02" + bytes(7) + b"{]", "no safetensors header"),
    ],
)
def test_a_torn_file(folder: Path, rest: Callable[[bytes], bytes], told: str) -> None:
    (folder / WEIGHTS).write_bytes(rest((folder / WEIGHTS).read_bytes()))
    refused(folder, told)


def test_weights_that_are_not_there(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    tensors.pop("model.layers.1.mlp.up_proj.weight")
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    refused(folder, "base: 1 weights are missing, such as model.layers.1.mlp.up_proj.weight")
    (folder / WEIGHTS).unlink()
    refused(folder, "base: no weights: neither model.safetensors nor")


def test_shards(folder: Path) -> None:
    first, second, *_ = in_shards(folder)
    load_model(folder)
    whole = first.read_bytes()
    first.write_bytes(whole[:-5])
    refused(folder, f"base/{first.name}: torn")
    first.write_bytes(whole)
    index = json.loads((folder / INDEX).read_text())
    (folder / INDEX).write_text(
        json.dumps({**index, "weight_map": {**index["weight_map"], "more": first.name}})
    )
    refused(folder, "base: 1 weights of the index are not in their files, such as more")
    (folder / INDEX).write_text(json.dumps({**index, "weight_map": {"model.norm.weight": "../elsewhere"}}))
    refused(folder, "'../elsewhere' is not the name of a file beside it")
    (folder / INDEX).write_text("{")
    refused(folder, f"base/{INDEX}: no JSON")
    (folder / INDEX).write_text(json.dumps(index))
    second.unlink()
    refused(folder, rf"base: 1 of \d files with weights are missing, such as {second.name}")


def test_a_model_and_an_adapter_in_one_folder(folder: Path) -> None:
    """Transformers would read the model that the adapter names, and not this one."""
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "/elsewhere"}))
    refused(folder, "it holds config.json and adapter_config.json: a model, or an adapter?")
    (folder / "config.json").unlink()
    refused(folder, "base: an adapter, not a whole model")


# Generation settings.
def test_generation_settings_that_cannot_be_saved_are_kept(folder: Path, tmp_path: Path) -> None:
    text = json.dumps(CANNOT_BE_SAVED)
    (folder / "generation_config.json").write_text(text)
    with pytest.raises(ValueError, match="invalid"):
        GenerationConfig.from_pretrained(folder).save_pretrained(tmp_path)
    loaded = load_model(folder)
    loaded.save_pretrained(tmp_path / "checkpoint")
    models.save_model(loaded, folder, tmp_path / "out")
    assert (tmp_path / "out" / "generation_config.json").read_text() == text


@pytest.mark.parametrize("text", ["{", '{"max_new_tokens": -1}', "[1]"])
def test_generation_settings_that_cannot_be_read(folder: Path, text: str) -> None:
    (folder / "generation_config.json").write_text(text)
    refused(folder, "base/generation_config.json: (it cannot be read|no JSON|a JSON list instead)")


@pytest.mark.parametrize(
    ("had", "stop", "ends"),
    [
        ({"eos_token_id": 1}, (), 1),
        ({"eos_token_id": 1}, (1,), 1),
        ({"eos_token_id": 1}, (4, 1, 4), [1, 4]),
        ({"eos_token_id": [2, 1]}, (3,), [2, 1, 3]),
        ({"temperature": 0.7, "do_sample": True}, (4,), [1, 4]),
        (CANNOT_BE_SAVED, (4,), [1, 4]),
        (None, (4,), [1, 4]),
    ],
)
@pytest.mark.parametrize("adapter", [False, True], ids=["model", "adapter"])
def test_tokens_that_end_a_turn_are_added(
    folder: Path,
    tmp_path: Path,
    had: dict[str, Any] | None,
    stop: tuple[int, ...],
    ends: object,
    adapter: bool,
) -> None:
    """The base's config.json says 1; all other settings stay."""
    file = folder / "generation_config.json"
    file.write_text(json.dumps(had)) if had is not None else file.unlink()
    out = tmp_path / "out"
    loaded = load_model(folder)
    if adapter:
        from peft import LoraConfig, get_peft_model

        adapted = get_peft_model(loaded, LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM"))
        models.save_adapter(adapted, folder, "base", out, stop)
    else:
        models.save_model(loaded, folder, out, stop)
    assert GenerationConfig.from_pretrained(out).eos_token_id == ends
    saved = json.loads((out / "generation_config.json").read_text())
    assert {**saved, "eos_token_id": 0} == {**(had or {}), "eos_token_id": 0} or had is None
    if not stop:
        assert (out / "generation_config.json").read_bytes() == file.read_bytes()


def test_the_type_is_the_configs_else_that_of_most_weights(folder: Path) -> None:
    assert models.stored_dtype(folder) is torch.float32
    change(folder, dtype="bfloat16")
    assert models.stored_dtype(folder) is torch.bfloat16
    change(folder, dtype=None)
    tensors = {name: tensor.half() for name, tensor in load_file(folder / WEIGHTS).items()}
    tensors["model.norm.weight"] = tensors["model.norm.weight"].float()
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    assert models.stored_dtype(folder) is torch.float16


@pytest.mark.parametrize(
    ("said", "name", "revision"),
    [
        ("hf://org/tiny@v1.0", "org/tiny", "v1.0"),
        ("hf://org/tiny", "org/tiny", None),
        ("org/tiny@refs/pr/3", "org/tiny", "refs/pr/3"),
        ("hf://org/tiny@v1/below", "hf://org/tiny@v1/below", None),
        ("here/model@v1", "here/model@v1", None),
        ("pvc://models/base", "pvc://models/base", None),
        ("s3://bucket/base@v1", "s3://bucket/base@v1", None),
    ],
)
def test_a_hubs_base_is_told_as_peft_looks_for_it(
    said: str, name: str, revision: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here" / "model@v1").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert found_by(said) == {"base_model_name_or_path": name, "revision": revision}
