"""How large a model is, by its configuration and the headers of its weights; the weights themselves are not read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from speechless.finetune.context import configuration
from speechless.finetune.heads import OUTPUTS, SCORE, HeadKind
from speechless.models.weights import read_headers

_TABLES = ("embed", "wte", "wpe", "lm_head", "shared", SCORE)
"""Parts of the names of what is looked up, and of the output's layer: none of these gets an adapter."""


@dataclass(frozen=True)
class Shape:
    """What memory depends on."""

    parameters: int
    linear: tuple[tuple[str, int, int], ...]
    """(name, inputs, outputs) of each layer that can have an adapter; the name is its last part, such as q_proj."""
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_width: int
    """Heads of keys times their size."""
    vocabulary: int
    """Numbers that it answers with at a token: a logit of every word, or a score."""
    output: int = 0
    """Parameters of the layer that makes them, where it is not the embedding."""
    head: int = 0
    """Parameters of such a layer that is trained whole, whatever the method."""

    def answering(self, kind: HeadKind) -> Shape:
        """The shape of what is trained, which may answer with something else than the model of the folder."""
        if kind.labels is None:
            return self
        head = kind.labels * self.hidden
        parameters = self.parameters - self.output + head
        return replace(self, parameters=parameters, vocabulary=kind.labels, output=head, head=head)

    def adapters(self, rank: int, names: tuple[str, ...]) -> int:
        """Parameters of low-rank adapters: rank times (inputs + outputs) of each layer. No names: all layers.

        With them those of a head that is trained beside them.
        """
        return self.head + sum(
            rank * (into + out) for name, into, out in self.linear if not names or name in names
        )

    def experts(self, number: int, rank: int) -> int:
        """Parameters of so many experts in each layer, and of their routers."""
        return self.layers * number * (rank * (self.intermediate + self.hidden) + self.hidden)

    def mixtral(self, number: int) -> int:
        """Parameters of the model that so many experts become: each has the three layers of an MLP of its own."""
        inner = 3 * self.hidden * self.intermediate
        return self.parameters + self.layers * ((number - 1) * inner + number * self.hidden)


def shape_of(folder: Path) -> Shape:
    """The shape of the model in a folder. StageError(MODEL_INVALID) as of `read_headers`."""
    config = configuration(folder)
    return _shape(config, {name: tensor.shape for name, tensor in read_headers(folder).items()})


def shape_of_new(folder: Path) -> Shape:
    """That of a model with new weights, by the folder's configuration; a weight that is tied counts once.

    No memory is taken: the weights are on PyTorch's device `meta`.
    """
    import torch

    from speechless.finetune.models import new_model

    with torch.device("meta"):
        model = new_model(folder, torch.float32)
    return _shape(
        configuration(folder), {name: tuple(weight.shape) for name, weight in model.named_parameters()}
    )


def _shape(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> Shape:
    def number(*names: str, default: int = 0) -> int:
        return next((int(config[name]) for name in names if isinstance(config.get(name), int)), default)

    heads = number("num_attention_heads", "n_head", default=1)
    hidden = number("hidden_size", "n_embd", "d_model")
    size = number("head_dim", default=hidden // heads)
    return Shape(
        parameters=sum(math.prod(shape) for shape in shapes.values()),
        linear=tuple(
            (name.split(".")[-2], shape[1], shape[0])
            for name, shape in shapes.items()
            if len(shape) == 2 and name.endswith(".weight") and not any(part in name for part in _TABLES)
        ),
        layers=number("num_hidden_layers", "n_layer"),
        hidden=hidden,
        intermediate=number("intermediate_size", "n_inner", default=4 * hidden),
        heads=heads,
        kv_width=number("num_key_value_heads", default=heads) * size,
        vocabulary=number("vocab_size"),
        output=sum(math.prod(shape) for name, shape in shapes.items() if name in (*OUTPUTS, SCORE)),
    )
