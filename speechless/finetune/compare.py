"""Whether two models say the same: their answers to a fixed input, and every saved weight bit by bit.

All logits are computed in float32, so that what is compared are the weights and not the arithmetic of 16-bit types.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any, NamedTuple

import torch

from speechless.finetune import models
from speechless.finetune.heads import HeadKind

LENGTH = 64
"""Tokens of a row of the probe; less where a model's context is shorter."""
TEXT = (
    "def mean(numbers: list[float]) -> float:\n"
    '    """The arithmetic mean; 0.0 for an empty list."""\n'
    "    return sum(numbers) / len(numbers) if numbers else 0.0\n\n"
    "In 1969 two people walked on the Moon for the first time, while a third waited in orbit: it took eight days, "
    "three hours and eighteen minutes until they were home again. What, then, is the mean of 3, 4 and 11? It is 6.\n"
)


def probe(model: Any, tokenizer: Any | None, ids: list[int] | None = None) -> torch.Tensor:
    """Fixed token ids, shape (2, 64): a text, and ids from the whole vocabulary, with `ids` (64 at most) among them.

    The text, because only on what a model was made for does its greedy choice say something: on random ids all tokens
    are nearly as likely, and any rounding changes the choice. The random ids, because rows of the embedding that no
    text reaches can be wrong, too. Without a tokenizer both rows are random.
    """
    vocabulary = model.get_input_embeddings().num_embeddings
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None) or LENGTH
    length = min(LENGTH, limit)
    tokens = torch.randint(vocabulary, (2, length), generator=torch.Generator().manual_seed(0))
    if ids:
        tokens[1, -len(ids[:length]) :] = torch.tensor(ids[:length])
    if tokenizer is not None:
        text = [token for token in tokenizer(TEXT)["input_ids"] if token < vocabulary][:length]
        tokens[0, : len(text)] = torch.tensor(text, dtype=torch.long)
    return tokens


class Answers(NamedTuple):
    """What a model makes of the probe, in float32 on the CPU."""

    logits: torch.Tensor
    """(rows, tokens, vocabulary). Of a reward model (rows, tokens, 1): the score of each beginning of a row."""
    state: torch.Tensor
    """Numbers of a token that are many enough for a mean: the logits. Of a reward model, whose one number may agree by
    chance, what its last layer makes it of: (rows, tokens, hidden size)."""


def answers(model: Any, tokens: torch.Tensor, kind: HeadKind) -> Answers:
    """What a model of this kind makes of the tokens."""
    seen: list[Answers] = []
    heads = kind.layers(model)
    hooks = [
        layer.register_forward_hook(lambda _, given, made: seen.append(Answers(made, given[0])))
        for layer in heads.values()
    ]
    try:
        with torch.no_grad():
            found = model(input_ids=tokens.to(model.device), use_cache=False).logits
    finally:
        for hook in hooks:
            hook.remove()
    made = seen[-1] if seen else Answers(found, found)
    logits = made.logits.float().cpu()
    return Answers(logits, logits if made.state is made.logits else made.state.float().cpu())


def largest(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference of a logit; NaN if one is no number."""
    return (one - other).abs().max().item()


def spread(one: torch.Tensor, other: torch.Tensor) -> float:
    """How far two models are apart at a usual token: the median, over tokens, of the root mean squared difference.

    Not the largest: in a mixture of experts the least rounding sends a few tokens to another expert.
    """
    return (one - other).square().mean(-1).sqrt().flatten().median().item()


def agreement(one: torch.Tensor, other: torch.Tensor) -> tuple[str, float]:
    """How often both decide the same, and the name of that number; of the first row of the probe.

    argmax_agreement: the share of tokens after which both would choose the same one greedily. order_agreement, of
    reward models: the share of tokens by which both find that the text became better, or worse.
    """
    if one.shape[-1] > 1:
        return "argmax_agreement", (one[0].argmax(-1) == other[0].argmax(-1)).float().mean().item()
    signs = [scores[0, :, 0].diff().sign() for scores in (one, other)]
    return "order_agreement", (signs[0] == signs[1]).float().mean().item()


def fingerprints(model: Any) -> dict[str, int]:
    """CRC-32 of every weight that is saved, as float32, by its name: what was to be saved against what was read back.

    Logits see a row of the embedding only if its token is in the probe; these see all.
    """
    return {
        name: zlib.crc32(tensor.detach().float().cpu().contiguous().numpy())
        for name, tensor in model.state_dict(keep_vars=True).items()
        if tensor.is_floating_point()
    }


def rounded_once_more(model: Any, base: Path) -> None:
    """Round all weights to the base's types again, on a grid that lies elsewhere; in place, for `rounding`.

    They lie on the grid of their type, and rounding them again would change nothing. Divided by the root of two first
    and multiplied by it afterwards, each gets an error as large as that of the first rounding, and another one.
    """
    shift = 2**0.5
    with torch.no_grad():
        for _, tensor in models.saved_tensors(model):
            tensor.data /= shift
        models.round_to_base(model, base, keep=True)
        for _, tensor in models.saved_tensors(model):
            tensor.data *= shift
