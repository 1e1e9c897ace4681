"""Which layers of a model get an adapter."""

from __future__ import annotations

import logging
from collections.abc import Collection
from functools import partial
from typing import Any

from speechless.contract import FailureReason, Lora
from speechless.contract.modelinfo import Head
from speechless.errors import StageError
from speechless.finetune import bits
from speechless.finetune.heads import HEADS, HeadKind

log = logging.getLogger(__name__)


def adapters_of(model: Any, lora: Lora, kind: HeadKind = HEADS[Head.WORDS], new: Collection[int] = ()) -> Any:
    """The `peft.LoraConfig` for a model, with the names of the layers that get an adapter.

    `new`: tokens whose rows of the embedding, and of the output where it has rows of its own, are trained as a whole.

    Every linear layer but the output's is one: nn.Linear, and GPT-2's Conv1D, which is the same with its weight
    transposed. `kind`: what the model answers with; layers that are new for that are trained whole.
    StageError(INVALID_SPEC) if a name means none, or a model has none.
    """
    import torch
    from peft import LoraConfig
    from transformers.pytorch_utils import Conv1D

    heads = kind.layers(model)
    outputs = {id(part) for layer in heads.values() for part in layer.modules()} | {
        id(model.get_output_embeddings())
    }
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D)) and id(module) not in outputs
    }
    names = _names(model, layers)
    for wanted in lora.target_modules:
        if wanted not in names:
            what = f"lora.targetModules: {wanted} is no linear layer of this model that can be adapted"
            raise StageError(
                FailureReason.INVALID_SPEC, what, f"there are {', '.join(sorted(names)) or 'none'}"
            )
    if not names:
        what = f"{type(model).__name__}: it has no linear layer that can be adapted"
        raise StageError(FailureReason.INVALID_SPEC, what, "train the whole model: method Full")
    targets = sorted(lora.target_modules or names)
    # Transformers holds those of all experts of a layer in one tensor, which is no layer.
    weights = (name.split(".") for name, weight in model.named_parameters() if weight.ndim == 3)
    stacked = sorted({path[-1] for path in weights if "experts" in path})
    if stacked and not lora.target_modules:
        log.warning(
            "the weights of this model's experts (%s) get no adapter and stay as they are", ", ".join(stacked)
        )
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        # PEFT looks at each layer, too, but warns of a setting that does not fit it.
        fan_in_fan_out=any(
            issubclass(bits.source(layer), Conv1D) for name in targets for layer in names[name]
        ),
        use_rslora=lora.use_rslora,
        use_dora=lora.use_dora,
        trainable_token_indices={name: sorted(new) for name in _of_tokens(model)} if new else None,
        task_type=kind.task,
        modules_to_save=sorted(heads) or None,
    )


def settle(model: Any) -> None:
    """Correct what PEFT does where rows of tokens are trained; nothing is done to a model without adapters.

    Its wrapper of the output shows the weight alone, and TRL's loss asks for the bias, too. It would save the whole
    embedding where there are more rows than the base has, though the trained ones are all that is new.
    """
    if not hasattr(model, "peft_config"):
        return
    model.save_pretrained = partial(model.save_pretrained, save_embedding_layers=False)
    head = model.get_output_embeddings()
    if hasattr(head, "token_adapter") and not hasattr(head, "bias"):
        # No module's attribute: it would be saved once more.
        object.__setattr__(head, "bias", getattr(head.original_module, "bias", None))


def _of_tokens(model: Any) -> list[str]:
    """The last words of the paths of the layers that have a row a token; one that two of them share, once."""
    embedding, output = model.get_input_embeddings(), model.get_output_embeddings()
    layers = [embedding]
    if output is not None and output.weight is not embedding.weight:
        layers.append(output)
    paths = {id(module): name for name, module in model.named_modules()}
    return [paths[id(layer)].rpartition(".")[2] for layer in layers]


def _names(model: Any, layers: dict[str, Any]) -> dict[str, list[Any]]:
    """The shortest names that mean linear layers and nothing else, to the layers that they mean.

    PEFT takes a name for every module whose path ends with it. The last word of a path will do (`q_proj`), but not
    where other modules end with it, too: in nn.Sequential it is a number, as a block's is.
    """
    others = {name.rpartition(".")[2] for name, _ in model.named_modules() if name not in layers}
    names: dict[str, list[Any]] = {}
    for path, layer in layers.items():
        last = path.rpartition(".")[2]
        names.setdefault(path if last in others else last, []).append(layer)
    return names
