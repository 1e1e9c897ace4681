"""Experts: low-rank adapters of a gated MLP's last layer, and a router that chooses among them for every token.

What a token gets is the MLP's answer, whose last layer W is for this token W + scale * (sum of the chosen experts' B A,
by their shares). The router is Mixtral's (Jiang et al., 2024, arXiv:2401.04088, section 2.1): a linear layer, softmax,
the `top_k` largest shares, which are made to sum to 1. As the shares sum to 1, a Mixtral whose experts have the last
layers W + scale * B A computes the same: that is the merged model. Low-rank experts on frozen weights: Li et al., 2024,
arXiv:2404.15159 (MixLoRA). There is no loss that balances the experts' load: an expert that no token is sent to costs
nothing but memory, because what all of them share is the base's own MLP.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from peft.tuners.lora.layer import LoraLayer
from pydantic import ValidationError
from torch import nn

from speechless.contract import Experts, FailureReason
from speechless.errors import StageError
from speechless.models.small import read_json

FILE = "experts.json"
"""Beside an adapter of experts: their number, and how many a token is sent to."""
MLP = "mlp"
"""What Llama and Mistral call a layer's MLP."""
SCALE = 2.0
"""The experts are multiplied by this: alpha / r of LoRA, with alpha twice the rank."""
_MODELS = ("llama", "mistral")
_HINT = "leave experts out: LoRA adapts the layers of any model"


def check(folder: Path) -> None:
    """StageError(INVALID_SPEC) for a model whose experts could not become a Mixtral: that has no biases."""
    config = read_json(folder / "config.json")
    kind = config.get("model_type")
    if kind not in _MODELS:
        what = f"experts: {folder.name}: they are for models of the types {' and '.join(_MODELS)}, and this is {kind}"
        raise StageError(FailureReason.INVALID_SPEC, what, _HINT)
    for name in ("attention_bias", "mlp_bias"):
        if config.get(name):
            what = f"experts: {folder.name}: it has biases ({name}), and a Mixtral, which it would become, has none"
            raise StageError(FailureReason.INVALID_SPEC, what, _HINT)


class RoutedMlp(nn.Module, LoraLayer):  # type: ignore[misc]
    """An MLP with experts, as PEFT's layer: (..., hidden) to (..., hidden)."""

    adapter_layer_names = ("lora_A", "lora_B", "lora_router")

    def __init__(
        self, base_layer: Any, adapter_name: str, config: Any, top_k: int, number: int, **_: Any
    ) -> None:
        """`base_layer`: an MLP with `gate_proj`, `up_proj`, `down_proj` and `act_fn`; `config`: a `peft.LoraConfig`."""
        super().__init__()
        LoraLayer.__init__(self, base_layer)
        hidden, rank = self.out_features, config.r
        self.top_k, self.number = top_k, number
        self._active_adapter = adapter_name
        self.r[adapter_name], self.scaling[adapter_name] = rank, config.lora_alpha / rank
        # As LoRA's: the first step begins at the base.
        self.lora_A = nn.ParameterDict(
            {adapter_name: torch.randn(number, rank, self.in_features) / math.sqrt(self.in_features)}
        )
        self.lora_B = nn.ParameterDict({adapter_name: torch.zeros(number, hidden, rank)})
        self.lora_router = nn.ParameterDict({adapter_name: torch.randn(number, hidden) * 0.02})
        self.set_adapter(adapter_name, inference_mode=config.inference_mode)

    def _get_in_out_features(self, module: Any) -> tuple[int, int]:
        return module.down_proj.in_features, module.down_proj.out_features

    def shares(self, x: torch.Tensor) -> torch.Tensor:
        """(..., experts): what each has of a token; those that were not chosen have nothing."""
        (name,) = self.active_adapters
        told = torch.softmax(nn.functional.linear(x, self.lora_router[name].to(x.dtype)).float(), -1)
        top, chosen = told.topk(self.top_k, -1)
        return torch.zeros_like(told).scatter(-1, chosen, top / top.sum(-1, keepdim=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The base's answer, and the experts'."""
        mlp = self.base_layer
        if self.disable_adapters:
            return mlp(x)
        (name,) = self.active_adapters
        inner = mlp.act_fn(mlp.gate_proj(x)) * mlp.up_proj(x)
        into = self.lora_A[name].flatten(0, 1)  # (experts * rank, intermediate)
        out = self.lora_B[name].transpose(0, 1).flatten(1)  # (hidden, experts * rank)
        low = nn.functional.linear(inner.to(into.dtype), into)
        shares = self.shares(x).repeat_interleave(self.r[name], -1).to(low.dtype)
        told = nn.functional.linear(low * shares, out)
        answer = mlp.down_proj(inner)
        return answer + self.scaling[name] * told.to(answer.dtype)


def settle(config: Any, experts: Experts) -> Any:
    """The `peft.LoraConfig`, by which the MLPs of a model become those with experts."""
    from transformers.models.llama.modeling_llama import LlamaMLP
    from transformers.models.mistral.modeling_mistral import MistralMLP

    def made(base_layer: Any, adapter_name: str, config: Any, **more: Any) -> RoutedMlp:
        return RoutedMlp(
            base_layer, adapter_name, config, top_k=experts.top_k, number=experts.num_experts, **more
        )

    config._register_custom_module({LlamaMLP: made, MistralMLP: made})
    return config


def adapters_of(experts: Experts, task: str) -> Any:
    """The `peft.LoraConfig` of experts."""
    from peft import LoraConfig

    rank = experts.adapter_dim
    given = LoraConfig(r=rank, lora_alpha=int(SCALE * rank), target_modules=[MLP], task_type=task)
    return settle(given, experts)


def write(model: Any, folder: Path) -> None:
    """Say beside the adapter of a model what its experts are; nothing where it has none."""
    layer = next((each for each in model.modules() if isinstance(each, RoutedMlp)), None)
    if layer is not None:
        (rank,) = layer.r.values()
        told = Experts(num_experts=layer.number, top_k=layer.top_k, adapter_dim=rank)
        (folder / FILE).write_text(json.dumps(told.model_dump(mode="json"), indent=2) + "\n")


def read(folder: Path) -> Experts | None:
    """The experts of an adapter; None: it has none. StageError(MODEL_INVALID) for a file that cannot be read."""
    if not (folder / FILE).is_file():
        return None
    try:
        return Experts.model_validate_json((folder / FILE).read_bytes())
    except ValidationError as error:
        what = f"{folder.name}/{FILE}: it cannot be read: {error.errors()[0]['msg']}"
        raise StageError(FailureReason.MODEL_INVALID, what, "bring the file again") from error


def merged(adapted: Any, folder: Path) -> Any:
    """The Mixtral that computes the same as the adapted model, in its type, with weights of its own for each expert.

    `folder`: the base's, for messages. StageError(OUT_OF_MEMORY) where the machine has too little for it.
    """
    from accelerate import init_empty_weights
    from transformers import MixtralForCausalLM

    base = adapted.get_base_model()
    layers = {name: layer for name, layer in base.named_modules() if isinstance(layer, RoutedMlp)}
    _fits(base, layers, folder)
    first = next(iter(layers.values()))
    # Buffers are computed, not read.
    with init_empty_weights(include_buffers=False):
        model = MixtralForCausalLM(_configuration(base.config, first.number, first.top_k))
    stored: dict[str, torch.Tensor] = {
        name: tensor for name, tensor in base.state_dict().items() if not _within(name, layers)
    }
    for name, layer in layers.items():
        stored |= {f"{name}.{part}": tensor for part, tensor in _expert_weights(layer).items()}
    model.load_state_dict(stored, strict=True, assign=True)
    model.tie_weights()
    model.generation_config = base.generation_config
    return model.eval()


def _within(name: str, layers: dict[str, RoutedMlp]) -> bool:
    return any(name.startswith(f"{layer}.") for layer in layers)


def _expert_weights(layer: RoutedMlp) -> dict[str, torch.Tensor]:
    """By the names that Transformers has in a Mixtral: (experts, outputs, inputs)."""
    (name,) = layer.active_adapters
    mlp, number = layer.base_layer, layer.number
    into = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]).detach()
    out, change = mlp.down_proj.weight.detach(), layer.lora_B[name].detach() @ layer.lora_A[name].detach()
    return {
        "experts.gate_up_proj": into[None].repeat(number, 1, 1),
        "experts.down_proj": out[None] + layer.scaling[name] * change.to(out.dtype),
        "gate.weight": layer.lora_router[name].detach().to(out.dtype),
    }


def _configuration(base: Any, number: int, top_k: int) -> Any:
    from transformers import MixtralConfig

    told = base.to_dict()
    same = set(MixtralConfig().to_dict()) - {"model_type", "architectures", "transformers_version"}
    given = {key: value for key, value in told.items() if key in same}
    given["sliding_window"] = told.get("sliding_window")
    return MixtralConfig(
        **given, num_local_experts=number, num_experts_per_tok=top_k, architectures=["MixtralForCausalLM"]
    )


def _fits(base: Any, layers: dict[str, RoutedMlp], folder: Path) -> None:
    from speechless.cpus import usable_memory

    weights = [tensor for layer in layers.values() for tensor in layer.base_layer.parameters()]
    first = next(iter(layers.values()))
    size = sum(tensor.numel() * tensor.element_size() for tensor in weights) * first.number
    if size > (there := usable_memory()):
        what = f"{folder.name}: {first.number} experts have {size / 1e9:.3g} GB of weights of their own in float32"
        what += f", and this machine has {there / 1e9:.3g} GB"
        raise StageError(
            FailureReason.OUT_OF_MEMORY,
            what,
            "take fewer experts, or publish the adapter alone (merge: false)",
        )
