"""A merge: what is saved is what was measured, in the base's types; whole or not there; folders that nobody trusts."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.finetune import compare, models
from speechless.finetune import merge as merging
from speechless.finetune.merge import merge
from tests.library import merge_models, random_model

TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:peft")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model.make(tmp_path_factory.mktemp("bases") / "llama", hidden=64)


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return merge_models.adapter(base, tmp_path_factory.mktemp("adapters") / "adapter", lora())


def lora(**more: Any) -> Any:
    return peft.LoraConfig(
        **{"r": 8, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM", **more}
    )


def values(metrics: Any) -> dict[str, float]:
    return {metric.name.removeprefix("merge/"): metric.value for metric in metrics}


def refused(base: Path, adapter: Path, out: Path, told: str) -> StageError:
    """The error of a merge that leaves nothing."""
    with pytest.raises(StageError, match=told) as caught:
        merge(base, adapter, out)
    assert not out.exists()
    assert not list(out.parent.glob(".*partial"))
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("name", TYPES)
def test_it_is_saved_in_the_bases_type_and_says_what_rounding_leaves(
    base: Path, adapter: Path, tmp_path: Path, name: str
) -> None:
    """Measured here: 1e-5, 0.09 and 0.013."""
    of_type = merge_models.cast(base, tmp_path / "base", TYPES[name])
    found = values(merge(of_type, adapter, tmp_path / "out"))
    assert {tensor.dtype for tensor in load_file(tmp_path / "out" / "model.safetensors").values()} == {
        TYPES[name]
    }
    assert found["max_logit_difference"] < 1e-4
    assert found["saved_logit_difference"] < {"float32": 1e-4, "bfloat16": 0.4, "float16": 0.06}[name]
    assert found["argmax_agreement"] > 0.9
    wanted = merge_models.said_by_adapter(of_type, adapter)
    difference = (merge_models.said_by_folder(tmp_path / "out") - wanted).abs().max().item()
    assert difference < 2 * found["saved_logit_difference"] + 1e-4


def test_all_else_is_the_bases_own_bytes(base: Path, adapter: Path, tmp_path: Path) -> None:
    before = (base / "model.safetensors").read_bytes()
    merge(base, adapter, tmp_path / "out")
    assert (base / "model.safetensors").read_bytes() == before, (
        "it is mapped, and weights are changed in place"
    )
    kept = {path.name: path.read_bytes() for path in base.iterdir() if path.suffix != ".safetensors"}
    assert kept == {
        path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.name in kept
    }


def test_weights_that_the_base_keeps_in_float32_stay_so(base: Path, adapter: Path, tmp_path: Path) -> None:
    mixed = merge_models.cast(base, tmp_path / "base", torch.bfloat16)
    tensors = load_file(mixed / "model.safetensors")
    tensors["model.norm.weight"] = tensors["model.norm.weight"].float() + 1e-4
    save_file(tensors, mixed / "model.safetensors", {"format": "pt"})
    merge(mixed, adapter, tmp_path / "out")
    saved = load_file(tmp_path / "out" / "model.safetensors")
    assert torch.equal(saved["model.norm.weight"], tensors["model.norm.weight"])
    assert saved["model.embed_tokens.weight"].dtype == torch.bfloat16


def test_a_weight_that_is_too_large_for_the_bases_type(base: Path, tmp_path: Path) -> None:
    half = merge_models.cast(base, tmp_path / "base", torch.float16)
    large = merge_models.adapter(base, tmp_path / "large", lora(modules_to_save=["norm"]))
    tensors = load_file(large / "adapter_model.safetensors")
    tensors["base_model.model.model.norm.weight"][0] = 1e5
    save_file(tensors, large / "adapter_model.safetensors")
    refused(
        half, large, tmp_path / "out", "model.norm.weight: a weight is no number, or too large for float16"
    )


# A saved model that is wrong. `damage` gets the folder as `save_model` left it.
def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def shard(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    index = {name: f"model-0000{1 + number % 2}-of-00002.safetensors" for number, name in enumerate(tensors)}
    save_file(
        {n: t for n, t in tensors.items() if index[n][9] == "1"}, folder / "model-00001-of-00002.safetensors"
    )
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


def untie_the_head(folder: Path) -> None:
    rewrite(
        folder, lambda tensors: tensors.update({"lm_head.weight": 2 * tensors["model.embed_tokens.weight"]})
    )
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))


def change_one_row(folder: Path) -> None:
    """The row of a token that is not in the probe: no other logit than its own depends on it."""
    rewrite(folder, lambda tensors: tensors["model.embed_tokens.weight"][300].mul_(1.0001))


def other_rope(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["rope_parameters"]["rope_theta"] = 10.0
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: rewrite(folder, lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight")),
         "cannot be read back: .* 1 weights are missing, such as model.layers.1.mlp.up_proj.weight"),
        (cut, "cannot be read back: .*model.safetensors: torn: "),
        (shard, "cannot be read back: .* 1 of 2 files with weights are missing"),
        (untie_the_head, "1 weights of the saved model are not those that were merged, such as lm_head.weight"),
        (change_one_row, "of the saved model are not those that were merged, such as lm_head.weight"),
        (lambda folder: rewrite(folder, lambda tensors: tensors["model.norm.weight"].mul_(1.01)),
         "the saved model's logits differ from those of what was saved by|1 weights of the saved model are not"),
        (other_rope, "the saved model's logits differ from those of what was saved by"),
    ],
)  # fmt: skip
def test_a_saved_model_that_is_wrong_is_found(
    base: Path,
    adapter: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Path], None],
    told: str,
) -> None:
    save = models.save_model

    def broken(model: Any, base: Path, out: Path, *rest: Any) -> None:
        save(model, base, out, *rest)
        damage(out)

    monkeypatch.setattr(models, "save_model", broken)
    refused(base, adapter, tmp_path / "out", told)


def test_a_saved_model_of_a_coarser_type_than_the_base_is_found(
    base: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All was rounded, also in memory; only the second rounding is the base's."""
    right, calls = models.stored_dtype, []

    def wrong_at_first(folder: Path) -> torch.dtype:
        calls.append(folder)
        return torch.bfloat16 if len(calls) <= 2 else right(folder)

    monkeypatch.setattr(models, "stored_dtype", wrong_at_first)
    refused(base, adapter, tmp_path / "out", r"rounding to float32 explains")


def test_the_arithmetic_is_compared(
    base: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = merging.adapter_folder.merged

    def wrong(adapted: Any, folder: Any) -> Any:
        model = right(adapted, folder)
        model.model.layers[0].self_attn.q_proj.weight.data *= 1.1
        return model

    monkeypatch.setattr(merging.adapter_folder, "merged", wrong)
    refused(base, adapter, tmp_path / "out", "the merged model's logits differ from the adapter's by")


# Whole or not there.
@pytest.mark.parametrize("there", [False, True], ids=["new", "empty"])
def test_a_failure_leaves_nothing(
    base: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    out = tmp_path / "out"
    if there:
        out.mkdir()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", "model.safetensors")

    for module, name in ((models, "add_stop"), (compare, "fingerprints"), (compare, "rounded_once_more")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, full)
            with pytest.raises(OSError, match="No space"):
                merge(base, adapter, out)
        assert [path.name for path in tmp_path.iterdir()] == (["out"] if there else [])
        assert not there or not list(out.iterdir())
    # What a killed run left is in nobody's way.
    left = out / ".partial" if there else tmp_path / ".out.partial"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_text("half of it")
    merge(base, adapter, out)
    assert (out / "config.json").is_file()
    assert not left.exists()


def test_it_stops_when_it_is_told_and_leaves_nothing(base: Path, adapter: Path, tmp_path: Path) -> None:
    asked = 0
    for stop_at in (1, 3, 5, 7):
        asked = 0

        def stopping(stop_at: int = stop_at) -> bool:
            nonlocal asked
            asked += 1
            return asked >= stop_at

        with pytest.raises(StageError, match="stopped by a signal while merging") as caught:
            merge(base, adapter, tmp_path / "out", stopping)
        assert caught.value.reason is FailureReason.INTERRUPTED
        assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(base: Path, adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(StageError, match="not empty; nothing is overwritten") as caught:
        merge(base, adapter, tmp_path)
    assert caught.value.reason is FailureReason.INVALID_SPEC
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


# Folders that nobody trusts.
def copied(folder: Path, place: Path) -> Path:
    return Path(shutil.copytree(folder, place))


def test_a_pickled_adapter_is_not_read(base: Path, adapter: Path, tmp_path: Path) -> None:
    pickled = copied(adapter, tmp_path / "a")
    tensors = load_file(pickled / "adapter_model.safetensors")
    (pickled / "adapter_model.safetensors").unlink()
    torch.save(tensors, pickled / "adapter_model.bin")
    error = refused(
        base, pickled, tmp_path / "out", r"its weights are pickled \(adapter_model.bin\), and pickles are"
    )
    # The hint is a command that works.
    code = error.hint.partition('python -c "')[2].rstrip('"')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(pickled)
        exec(code, {})
    merge(base, pickled, tmp_path / "out")


def test_a_torn_adapter(base: Path, adapter: Path, tmp_path: Path) -> None:
    torn = copied(adapter, tmp_path / "a")
    file = torn / "adapter_model.safetensors"
    whole = file.read_bytes()
    for rest, told in (
        (whole[:-1], "a/adapter_model.safetensors: torn: "),
        (whole[:40], "no safetensors file, or torn: a header of "),
        (b"", "no safetensors file, or torn: a header of 0 bytes in a file of 0"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS, not the weights"),
        (b"\x02" + bytes(7) + b"[]", "no safetensors header"),
    ):
        file.write_bytes(rest)
        refused(base, torn, tmp_path / "out", told)
    file.unlink()
    refused(base, torn, tmp_path / "out", "a: no adapter_model.safetensors")


def test_another_base_is_told(base: Path, adapter: Path, tmp_path: Path) -> None:
    wider = random_model.make(tmp_path / "wider", hidden=96)
    refused(wider, adapter, tmp_path / "out", "adapter: the adapter does not fit wider: size mismatch for")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tensors: tensors.pop(next(name for name in tensors if "lora_B" in name)),
         "a: 1 of its weights are missing in it, such as model.layers.0.self_attn.q_proj.lora_B"),
        (lambda tensors: tensors.update({"base_model.model.model.layers.7.q_proj.lora_A.weight": torch.ones(8, 64)}),
         "a: 1 of its weights have no place in the base model, such as model.layers.7"),
        (lambda tensors: tensors.pop("base_model.model.model.norm.weight"),
         "a: its weights lack model.norm.weight"),
    ],
)  # fmt: skip
def test_an_adapter_that_is_not_whole(
    base: Path, tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], Any], told: str
) -> None:
    """PEFT warns, and goes on with random weights or without them."""
    folder = merge_models.adapter(base, tmp_path / "a", lora(modules_to_save=["norm"]))
    tensors = load_file(folder / "adapter_model.safetensors")
    change(tensors)
    save_file(tensors, folder / "adapter_model.safetensors")
    refused(base, folder, tmp_path / "out", told)


def test_a_setting_of_a_newer_peft(base: Path, adapter: Path, tmp_path: Path) -> None:
    newer = copied(adapter, tmp_path / "a")
    config = json.loads((newer / "adapter_config.json").read_text())
    (newer / "adapter_config.json").write_text(json.dumps({**config, "use_magic": None}))
    merge(base, newer, tmp_path / "unset")
    (newer / "adapter_config.json").write_text(json.dumps({**config, "use_magic": True}))
    refused(base, newer, tmp_path / "out", "this version of PEFT does not know use_magic")


# Vocabularies.
def widen(tokens: int) -> Callable[[Any], None]:
    def resize(model: Any) -> None:
        torch.manual_seed(11)
        model.resize_token_embeddings(tokens, mean_resizing=False)

    return resize


def with_words(base: Path, folder: Path) -> int:
    """The base's tokenizer with two tokens more, in the adapter's folder; how many there are."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens(["<think>", "</think>"], special_tokens=True)
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize(
    "settings",
    [
        {"modules_to_save": ["embed_tokens", "lm_head"]},
        {"target_modules": ["q_proj", "embed_tokens", "lm_head"]},
        {"trainable_token_indices": "new"},
        {},
    ],
    ids=["saved", "adapted", "tokens", "untouched"],
)
def test_added_tokens_come_with_the_adapter(
    base: Path, tmp_path: Path, tied: bool, settings: dict[str, Any]
) -> None:
    of = base if tied else merge_models.untied(base, tmp_path / "base")
    folder = tmp_path / "a"
    count = with_words(of, folder)
    if settings.get("trainable_token_indices"):
        settings = {"trainable_token_indices": [count - 2, count - 1]}
    merge_models.adapter(of, folder, lora(**settings), before=widen(count))
    out = tmp_path / "out"
    assert values(merge(of, folder, out))["saved_logit_difference"] < 1e-4
    wanted = merge_models.said_by_adapter(of, folder, before=widen(count))
    assert (merge_models.said_by_folder(out) - wanted).abs().max() < 1e-4
    assert AutoConfig.from_pretrained(out).vocab_size == count
    assert len(AutoTokenizer.from_pretrained(out)) == count
    assert AutoTokenizer.from_pretrained(out)("<think>")["input_ids"] == [count - 2]


def test_added_tokens_without_their_embeddings(base: Path, adapter: Path, tmp_path: Path) -> None:
    folder = copied(adapter, tmp_path / "a")
    count = with_words(base, folder)
    told = (
        f"a: its vocabulary has {count} tokens, the base's {count - 2}, and it does not bring the new tokens'"
    )
    refused(base, folder, tmp_path / "out", told)


def test_another_chat_template_is_the_adapters(base: Path, adapter: Path, tmp_path: Path) -> None:
    folder = copied(adapter, tmp_path / "a")
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.save_pretrained(folder)
    merge(base, folder, tmp_path / "same")
    assert (tmp_path / "same" / "tokenizer_config.json").read_bytes() == (
        base / "tokenizer_config.json"
    ).read_bytes()
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    tokenizer.save_pretrained(folder)
    merge(base, folder, tmp_path / "out")
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template == "{{ messages[0]['content'] }}"


def test_tokens_that_end_a_turn_are_passed_on(base: Path, adapter: Path, tmp_path: Path) -> None:
    folder = copied(adapter, tmp_path / "a")
    models.copy_kept(base, folder, ("generation_config.json",))
    models.add_stop(folder, (4, 1), base)
    merge(base, folder, tmp_path / "out")
    assert GenerationConfig.from_pretrained(tmp_path / "out").eos_token_id == [1, 4]


def test_a_base_and_an_adapter_whose_tokens_are_told_wrong(base: Path, adapter: Path, tmp_path: Path) -> None:
    folder = copied(adapter, tmp_path / "a")
    for text in ("{", '{"eos_token_id": ["</s>"]}'):
        (folder / "generation_config.json").write_text(text)
        refused(base, folder, tmp_path / "out", "a/generation_config.json: it cannot be read")
    shutil.rmtree(folder)
    copied(adapter, folder)
    (folder / "tokenizer.json").write_text("{")
    refused(base, folder, tmp_path / "out", "a: the tokenizer cannot be loaded")
    # A base without a tokenizer, or with one that needs code of its own, is merged as it is.
    bare = copied(base, tmp_path / "bare")
    (bare / "tokenizer.json").write_text("{")
    merge(bare, adapter, tmp_path / "first")
    assert (tmp_path / "first" / "tokenizer.json").read_text() == "{"
    for file in bare.glob("tokenizer*"):
        file.unlink()
    merge(bare, adapter, tmp_path / "second")


def test_generation_settings_that_cannot_be_saved_are_the_bases(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    odd = copied(base, tmp_path / "base")
    said = json.dumps({"do_sample": False, "temperature": 0.6, "top_p": 0.9, "eos_token_id": 1})
    (odd / "generation_config.json").write_text(said)
    merge(odd, adapter, tmp_path / "out")
    assert (tmp_path / "out" / "generation_config.json").read_text() == said


def test_the_command_leaves_nothing_when_it_is_ended(base: Path, adapter: Path, tmp_path: Path) -> None:
    """Twice, as a launcher in front of it passes Ctrl-C on."""
    out = tmp_path / "out"
    words = ["--base_model_name_or_path", str(base), "--lora_model_path", str(adapter)]
    argv = [sys.executable, "-m", "speechless.finetune.merge_peft_adapters", *words]
    command = subprocess.Popen(
        [*argv, "--merged_model_name_or_path", str(out)], stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / ".out.partial").exists():
        assert command.poll() is None
        time.sleep(0.01)
    command.send_signal(signal.SIGTERM)
    time.sleep(0.05)
    command.send_signal(signal.SIGINT)
    _, told = command.communicate()
    assert command.returncode == 130, told
    assert told.splitlines()[-1] == "speechless finetune: interrupted", told
    assert not list(tmp_path.iterdir())
