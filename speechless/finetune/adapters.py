"""Which layers of a model get an adapter."""

from __future__ import annotations

from typing import Any

from speechless.contract import FailureReason, Lora
from speechless.errors import StageError
from speechless.finetune import bits


def adapters_of(model: Any, lora: Lora) -> Any:
    """The `peft.LoraConfig` for a model, with the names of the layers that get an adapter.

    Every linear layer but the output's is one: nn.Linear, and GPT-2's Conv1D, which is the same with its weight
    transposed. StageError(INVALID_SPEC) if a name means none, or a model has none.
    """
    import torch
    from peft import LoraConfig
    from transformers.pytorch_utils import Conv1D

    output = model.get_output_embeddings()
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D)) and module is not output
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
        task_type="CAUSAL_LM",
    )


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
