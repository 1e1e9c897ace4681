"""The base model: a Llama of 2.8 million parameters, trained from nothing on `text.document`."""

import random
from collections.abc import Callable
from typing import Any

from speechless.tiny.text import document

LENGTH = 64
"""Tokens of a sequence."""
BATCH = 16
"""Sequences of a step."""
_RATE, _WARMUP, _DECAY = 3e-3, 40, 0.3
"""Peak learning rate; steps until it is reached; part of the steps, at the end, in which it falls."""


def build(tokenizer: Any, seed: int) -> Any:
    """An untrained model. Hidden size 256: llama.cpp's K-quants need a multiple of 256.

    Its weights begin at a deviation of 0.06, about 256^-0.5. At Transformers' default, 0.02, attention begins all but
    uniform and takes several times the steps to form.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        initializer_range=0.06,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def train(
    model: Any, tokenizer: Any, steps: int, seed: int, progress: Callable[[int, int, float], None]
) -> None:
    """Train in place, in float32; `progress` is called with (step, steps, loss)."""
    import torch

    batches = _batches(tokenizer, steps, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    model.train()
    for step in range(steps):
        loss = model(input_ids=batches[step], labels=batches[step]).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        progress(step + 1, steps, loss.item())
    model.eval()


def _batches(tokenizer: Any, steps: int, seed: int) -> Any:
    """Token ids, shape (steps, BATCH, LENGTH): documents one after another, each between its marks."""
    import torch

    rng, wanted = random.Random(f"documents {seed}"), steps * BATCH * LENGTH
    ids: list[int] = []
    while len(ids) < wanted:
        for encoded in tokenizer([document(rng) for _ in range(1000)])["input_ids"]:
            ids += [*encoded, tokenizer.eos_token_id]
    return torch.tensor(ids[:wanted]).view(steps, BATCH, LENGTH)


def _rate(step: int, steps: int) -> float:
    """Linear warm-up, constant, linear fall to a twentieth; a factor of the peak."""
    falling = (steps - step) / (steps * _DECAY)
    return min(1.0, (step + 1) / _WARMUP, max(0.05, falling))
