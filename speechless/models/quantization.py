"""What says that the weights of a Hugging Face folder are quantized, and how many of them there are then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from speechless.contract import QuantizationInfo
from speechless.models.safetensors import BITS, TORCH, Tensor
from speechless.models.small import first, read_json, whole, word


class Place(NamedTuple):
    """A file that tells of a quantization beside config.json, by being there, and the method where it names none."""

    file: str
    inside: str
    """The member that tells more; empty: the whole."""
    method: str


PLACES = (
    Place("quantize_config.json", "", "gptq"),  # AutoGPTQ
    Place("quant_config.json", "", "awq"),  # AutoAWQ
    Place("hf_quant_config.json", "quantization", "modelopt"),  # NVIDIA TensorRT Model Optimizer
    Place("quanto_qmap.json", "", "quanto"),  # Optimum Quanto
    Place("qmodel.pt", "", "hqq"),  # HQQ
)
UNKNOWN = "unknown"
"""The method of a quantization that does not name it."""
KEYS = {
    "quantization_config": UNKNOWN,
    "compression_config": "compressed-tensors",
    "quantization": "mlx",
}
"""Keys of config.json that only quantized models have, and the method where the key's value names none."""
BITS_OF = {"fp8": 8, "fbgemm_fp8": 8, "mxfp8": 8, "mxfp4": 4, "nvfp4": 4}
"""Of the methods that have one number of bits, which they do not write."""
TABLES = frozenset(
    {
        "scales", "qzeros", "g_idx", "weight_scale", "weight_scale_inv", "weight_scale_2", "weight_zero_point",
        "weight_shape", "weight_g_idx", "input_scale", "absmax", "quant_map", "nested_absmax", "nested_quant_map",
        "SCB", "weight_format", "bitsandbytes__nf4", "bitsandbytes__fp4", "activation_scale",
    }
)  # fmt: skip
"""Last parts of the names of tensors that are no weights: scales, zero points, orders."""


def quantization_of(folder: Path, config: Mapping[str, Any]) -> QuantizationInfo | None:
    """How a folder's weights are quantized; None: nothing says that they are. `config` is its config.json.

    A part of a model (`text_config`) may have its own `quantization_config`.
    """
    for part in (config, *(part for part in config.values() if isinstance(part, dict))):
        for key, method in KEYS.items():
            if told := part.get(key):
                return _info(told, method)
    for place in PLACES:
        if (folder / place.file).is_file():
            found = read_json(folder / place.file) if place.file.endswith(".json") else {}
            return _info(found.get(place.inside) or {} if place.inside else found, place.method)
    return None


def quantized(tensors: Iterable[Tensor]) -> Tensor | None:
    """The first tensor that only quantized weights have; None: there is none.

    Whole numbers alone say nothing: older models hold masks and positions in their files.
    """
    for tensor in sorted(tensors):
        small = tensor.type.startswith(("F8", "F6", "F4"))
        packed = tensor.name.endswith((".qweight", ".weight_packed", ".qzeros"))
        integers = tensor.name.endswith(".weight") and tensor.type in ("I8", "U8", "I32", "U32")
        if small or packed or integers:
            return tensor
    return None


def _info(told: object, method: str) -> QuantizationInfo:
    """Of a quantization's configuration. One that is no object is a quantization, too."""
    found: dict[str, Any] = told if isinstance(told, dict) else {"quant_method": told}
    method = word(found.get("quant_method")) or (BITSANDBYTES if _eight(found) or _four(found) else method)
    group = first(found, ("group_size", "q_group_size", "qgroup_size"))
    return QuantizationInfo(
        method=method.lower(),
        type=word(first(found, ("fmt", "quant_algo", "bnb_4bit_quant_type" if _four(found) else "format"))),
        bits=_bits(found) or BITS_OF.get(method.lower()),
        group_size=whole(group if group is not None else _of_groups(found, "group_size")),
    )


BITSANDBYTES = "bitsandbytes"


def _four(found: Mapping[str, Any]) -> bool:
    return bool(found.get("load_in_4bit") or found.get("_load_in_4bit"))


def _eight(found: Mapping[str, Any]) -> bool:
    return bool(found.get("load_in_8bit") or found.get("_load_in_8bit"))


def _bits(found: Mapping[str, Any]) -> int | None:
    if _four(found) or _eight(found):
        return 4 if _four(found) else 8
    bits = whole(first(found, ("bits", "w_bit", "nbits")) or _of_groups(found, "num_bits"))
    return bits if bits is not None and bits <= 64 else None


def _of_groups(found: Mapping[str, Any], name: str) -> object:
    """Of compressed-tensors (`config_groups.<name>.weights`), if all groups say the same."""
    groups = found.get("config_groups")
    values = [
        weights.get(name)
        for group in (groups.values() if isinstance(groups, dict) else ())
        if isinstance(group, dict) and isinstance(weights := group.get("weights"), dict)
    ]
    return values[0] if values and all(value == values[0] for value in values) else None


def parameters_of(tensors: Iterable[Tensor], quantization: QuantizationInfo | None) -> int | None:
    """How many weights there are; None where they are packed in a way that is not known.

    Integers of a quantized model hold several weights each (qweight of GPTQ and AWQ: 32 / bits), scales none.
    """
    if quantization is None:
        return sum(tensor.elements for tensor in tensors) or None
    total = 0.0
    for tensor in tensors:
        last = tensor.name.rpartition(".")[2]
        if (
            last in TABLES
            or last.endswith(("_scales", "_scale", "_scale_inv"))
            or "quant_state" in tensor.name
        ):
            continue
        if tensor.type in TORCH:
            total += tensor.elements
        elif quantization.bits is None or tensor.type not in BITS:
            return None
        else:
            total += tensor.elements * BITS[tensor.type] / quantization.bits
    return round(total) or None
