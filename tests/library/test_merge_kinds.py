"""Every kind of adapter that PEFT has: the merged folder says what the adapter says, or it is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import pytest
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.finetune import adapter_folder
from speechless.finetune.merge import merge
from tests.library import merge_models, random_model

LAYERS = ["q_proj", "v_proj", "down_proj"]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:peft")
KINDS: dict[str, dict[str, Any]] = {
    "ADALORA": {"total_step": 10},
    "BOFT": {"boft_block_size": 4},
    "C3A": {"block_size": 16},
    "DEFT": {},
    "DELORA": {},
    "FOURIERFT": {"n_frequency": 50},
    "FROD": {},
    "GLORA": {},
    "GRALORA": {},
    "HIRA": {},
    "HRA": {},
    "IA3": {"feedforward_modules": ["down_proj"]},
    "LN_TUNING": {"target_modules": ["input_layernorm", "norm"]},
    "LOHA": {},
    "LOKR": {},
    "LORA": {},
    "MISS": {},
    "OFT": {"oft_block_size": 8},
    "OSF": {},
    "PEANUT": {},
    "PSOFT": {},
    "PVERA": {},
    "RANDLORA": {},
    "ROAD": {},
    "SHIRA": {},
    "SUPERTUNING": {},
    "TINYLORA": {},
    "TRAINABLE_TOKENS": {"token_indices": [3, 5, 7], "target_modules": ["embed_tokens"]},
    "UNILORA": {},
    "VBLORA": {"vector_length": 4, "num_vectors": 16, "topk": 2, "r": 2},
    "VERA": {},
    "WAVEFT": {},
}
"""Kinds that merge, and what they need beside the layers."""
NOT_BUILT = {"ADAMSS": "needs scikit-learn", "BEFT": "below: needs layers with a bias"}
LORA: dict[str, tuple[str, dict[str, Any]]] = {
    "rank stabilized": ("llama", {"use_rslora": True}),
    "dora": ("llama", {"use_dora": True}),
    "pissa": ("llama", {"init_lora_weights": "pissa"}),
    "olora": ("llama", {"init_lora_weights": "olora"}),
    "eva": ("llama", {"init_lora_weights": "eva"}),
    "orthogonal": ("llama", {"init_lora_weights": "orthogonal"}),
    "patterns": ("llama", {"rank_pattern": {"v_proj": 4}, "alpha_pattern": {"v_proj": 32}}),
    "one layer": ("llama", {"layers_to_transform": [1]}),
    "all linear": ("llama", {"target_modules": "all-linear"}),
    "by expression": ("llama", {"target_modules": r".*\.(q|v)_proj"}),
    "norms": ("llama", {"modules_to_save": ["norm"]}),
    "parameter": ("llama", {"target_modules": [], "target_parameters": ["mlp.down_proj.weight"]}),
    "kasa": ("llama", {"kasa_config": {}}),
    "experts": ("mixtral", {"target_parameters": ["experts.gate_up_proj", "experts.down_proj"]}),
    "router": ("mixtral", {"target_parameters": ["gate.weight"]}),
    "conv1d": ("gpt2", {"target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True}),
    "conv1d, dora": ("gpt2", {"target_modules": ["c_attn"], "use_dora": True, "fan_in_fan_out": True}),
    "bias of lora": ("gpt2", {"target_modules": ["c_attn"], "bias": "lora_only", "fan_in_fan_out": True}),
    "all biases": ("gpt2", {"target_modules": ["c_attn"], "bias": "all", "fan_in_fan_out": True}),
    "a bias of its own": ("gpt2", {"target_modules": ["c_attn"], "lora_bias": True, "fan_in_fan_out": True}),
    "tokens": ("llama", {"trainable_token_indices": [3, 5, 7]}),
    "tokens of untied": ("untied", {"trainable_token_indices": [3, 5, 7]}),
}
TIED: dict[str, tuple[dict[str, Any], bool]] = {
    "embedding": ({"target_modules": ["q_proj", "embed_tokens"]}, False),
    "embedding, dora": ({"target_modules": ["embed_tokens"], "use_dora": True}, False),
    "output": ({"target_modules": ["q_proj", "lm_head"]}, False),
    "both": ({"target_modules": ["embed_tokens", "lm_head"]}, False),
    "both as one": ({"target_modules": ["embed_tokens", "lm_head"], "ensure_weight_tying": True}, True),
    "embedding as one": ({"target_modules": ["embed_tokens"], "ensure_weight_tying": True}, True),
    "saved output": ({"modules_to_save": ["lm_head"]}, False),
    "saved embedding": ({"modules_to_save": ["embed_tokens"]}, False),
    "saved both": ({"modules_to_save": ["embed_tokens", "lm_head"]}, False),
    "saved as one": ({"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}, True),
    "tokens": ({"trainable_token_indices": [3, 5, 7]}, True),
}
"""Adapters on embeddings that are tied in the base, and whether they are tied afterwards."""


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    llama = random_model.make(folder / "llama", hidden=64)
    return {
        "llama": llama,
        "untied": merge_models.untied(llama, folder / "untied"),
        "biased": merge_models.biased(llama, folder / "biased"),
        "gpt2": merge_models.gpt2(llama, folder / "gpt2"),
        "mixtral": merge_models.mixtral(llama, folder / "mixtral"),
    }


def config_of(kind: str, **more: Any) -> Any:
    return PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(kind)](
        **{"task_type": "CAUSAL_LM", "target_modules": LAYERS, **more}
    )


def lora(**more: Any) -> Any:
    return peft.LoraConfig(
        **{"r": 8, "lora_alpha": 16, "target_modules": LAYERS, "task_type": "CAUSAL_LM", **more}
    )


def check(base: Path, adapter: Path, out: Path) -> None:
    """It changed the model, and the folder on disk says what PEFT makes of the adapter."""
    measured = {metric.name: metric.value for metric in merge(base, adapter, out)}
    wanted, found = merge_models.said_by_adapter(base, adapter), merge_models.said_by_folder(out)
    assert (wanted - merge_models.said_by_folder(base)).abs().max() > 0.01
    assert (wanted - found).abs().max() < 1e-4
    assert measured["merge/max_logit_difference"] < 1e-4
    assert measured["merge/saved_logit_difference"] < 1e-4
    assert measured["merge/argmax_agreement"] == 1.0


def test_each_kind_of_this_peft_is_looked_at() -> None:
    known = {*KINDS, *NOT_BUILT, *adapter_folder.REFUSED}
    assert {kind.value for kind in PEFT_TYPE_TO_CONFIG_MAPPING} == known


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_merges(bases: dict[str, Path], tmp_path: Path, kind: str) -> None:
    # The usual random weights would make of these two a model that turns any rounding into other logits.
    scale = 0.01 if kind in ("RANDLORA", "WAVEFT") else 0.1
    adapter = merge_models.adapter(
        bases["llama"], tmp_path / "a", config_of(kind, **KINDS[kind]), scale=scale
    )
    check(bases["llama"], adapter, tmp_path / "out")


@pytest.mark.parametrize("name", LORA)
def test_lora_merges(bases: dict[str, Path], tmp_path: Path, name: str) -> None:
    base, settings = LORA[name]
    if base == "mixtral":
        settings = {"target_modules": ["q_proj"], **settings}
    adapter = merge_models.adapter(bases[base], tmp_path / "a", lora(**settings))
    check(bases[base], adapter, tmp_path / "out")


@pytest.mark.parametrize("name", TIED)
def test_tied_embeddings_say_the_same(bases: dict[str, Path], tmp_path: Path, name: str) -> None:
    settings, tied = TIED[name]
    adapter = merge_models.adapter(bases["llama"], tmp_path / "a", lora(**settings))
    check(bases["llama"], adapter, tmp_path / "out")
    from safetensors import safe_open
    from transformers import AutoConfig

    assert AutoConfig.from_pretrained(tmp_path / "out").tie_word_embeddings is tied
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        assert ("lm_head.weight" in file.keys()) is not tied  # noqa: SIM118


@pytest.mark.parametrize("layer", ["wte", "lm_head"])
def test_a_tied_gpt2_says_the_same(bases: dict[str, Path], tmp_path: Path, layer: str) -> None:
    adapter = merge_models.adapter(bases["gpt2"], tmp_path / "a", lora(target_modules=[layer]))
    check(bases["gpt2"], adapter, tmp_path / "out")


def test_biases_merge_where_the_layer_has_one(bases: dict[str, Path], tmp_path: Path) -> None:
    settings = config_of("BEFT", target_modules=["q_proj", "v_proj"])
    adapter = merge_models.adapter(bases["biased"], tmp_path / "a", settings, scale=1.0)
    check(bases["biased"], adapter, tmp_path / "out")
    adapter = merge_models.adapter(bases["llama"], tmp_path / "b", settings)
    with pytest.raises(
        StageError, match=r"PEFT cannot merge an adapter of the kind BEFT here: .* no bias"
    ) as told:
        merge(bases["llama"], adapter, tmp_path / "none")
    assert told.value.reason is FailureReason.MODEL_INVALID
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"peft_type": "PROMPT_TUNING"}, "a: prompt tuning adds tokens to the input; it has no weights to merge"),
        ({"peft_type": "PREFIX_TUNING"}, "a: prefix tuning adds keys and values"),
        ({"peft_type": "XLORA"}, "a: X-LoRA mixes its adapters anew for every token"),
        ({"peft_type": "LORA", "alora_invocation_tokens": [5]}, "a: alora_invocation_tokens: it acts only behind"),
        ({"peft_type": "LORA", "layer_replication": [[0, 2], [1, 2]]}, "a: layer_replication: it repeats layers"),
        ({"peft_type": "LORA", "megatron_config": {"x": 1}}, "a: megatron_config: .* have a module imported"),
        ({"peft_type": "LORA", "init_lora_weights": "pissa_niter_4"}, "a: init_lora_weights: pissa_niter_4: its"),
        ({"peft_type": "LORA", "init_lora_weights": "corda"}, "a: init_lora_weights: corda: its training began"),
        ({"peft_type": "LORA", "task_type": "TOKEN_CLS"}, "a: an adapter for TOKEN_CLS, neither for a causal"),
        ({"peft_type": "MAGIC"}, "a: this version of PEFT knows no adapters of the kind MAGIC"),
        ({}, "a: adapter_config.json cannot be read: KeyError"),
    ],
)  # fmt: skip
def test_what_cannot_be_merged_is_told_by_the_small_file_alone(
    tmp_path: Path, settings: dict[str, Any], told: str
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(StageError, match=f"^{told}") as caught:
        merge(tmp_path / "no base is read", tmp_path / "a", tmp_path / "out")
    assert caught.value.reason is FailureReason.MODEL_INVALID
    assert caught.value.hint
    assert "\n" not in caught.value.message
