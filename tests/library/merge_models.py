"""Small base models with random weights, adapters on them with random weights, and what both say."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

IDS = torch.arange(2, 66).reshape(2, 32)
"""Other tokens than those that `merge` looks at."""


def cast(base: Path, folder: Path, dtype: torch.dtype) -> Path:
    """A copy of a model in another type."""
    shutil.copytree(base, folder)
    AutoModelForCausalLM.from_pretrained(base, dtype=dtype).save_pretrained(folder)
    return folder


def untied(base: Path, folder: Path) -> Path:
    """A copy whose output layer has weights of its own."""
    shutil.copytree(base, folder)
    model = AutoModelForCausalLM.from_pretrained(base)
    torch.manual_seed(7)
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(0.2 * torch.randn_like(model.lm_head.weight))
    model.save_pretrained(folder)
    return folder


def biased(base: Path, folder: Path) -> Path:
    """A copy whose attention has biases, as Qwen2 has them."""
    from transformers import AutoConfig

    shutil.copytree(base, folder)
    torch.manual_seed(5)
    config = AutoConfig.from_pretrained(base, attention_bias=True)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    return folder


def gpt2(tokenizer: Path, folder: Path) -> Path:
    """A GPT-2, whose layers are Conv1D with a bias, with the tokenizer of another model."""
    from transformers import GPT2Config, GPT2LMHeadModel

    shutil.copytree(tokenizer, folder, ignore=shutil.ignore_patterns("*.safetensors", "*config.json"))
    shutil.copyfile(tokenizer / "tokenizer_config.json", folder / "tokenizer_config.json")
    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=vocabulary(tokenizer), n_positions=256, n_embd=64, n_layer=2, n_head=4, initializer_range=0.2,
        bos_token_id=1, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def mixtral(tokenizer: Path, folder: Path) -> Path:
    """A mixture of four experts, whose weights are one parameter of three dimensions."""
    from transformers import MixtralConfig, MixtralForCausalLM

    shutil.copytree(tokenizer, folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    torch.manual_seed(1)
    config = MixtralConfig(
        vocab_size=vocabulary(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=4, num_local_experts=4, initializer_range=0.2,
        bos_token_id=None, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    MixtralForCausalLM(config).save_pretrained(folder)
    return folder


def vocabulary(folder: Path) -> int:
    """How many tokens a model has."""
    from transformers import AutoConfig

    return int(AutoConfig.from_pretrained(folder).vocab_size)


def adapter(
    base: Path,
    folder: Path,
    config: Any,
    *,
    scale: float = 0.1,
    before: Callable[[Any], None] = lambda model: None,
) -> Path:
    """An adapter whose trained weights are all random. `before` changes the base first."""
    from peft import get_peft_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(3)
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        before(model)
        adapted = get_peft_model(model, config)
        with torch.no_grad():
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter.add_(scale * torch.randn_like(parameter))
        adapted.save_pretrained(folder)
    return folder


def said(model: Any) -> torch.Tensor:
    """Logits, computed in float32."""
    with torch.no_grad():
        return model.eval()(input_ids=IDS, use_cache=False).logits


def said_by_adapter(
    base: Path, folder: Path, before: Callable[[Any], None] = lambda model: None
) -> torch.Tensor:
    """What PEFT itself makes of an adapter."""
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        before(model)
        return said(PeftModel.from_pretrained(model, folder))


def said_by_folder(folder: Path) -> torch.Tensor:
    """What Transformers makes of a folder."""
    return said(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32))
