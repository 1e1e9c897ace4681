"""A GGUF file, or a folder with the one model that is in GGUF files.

Keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. File types: enum llama_ftype (llama.h).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechless.contract import AdapterInfo, BaseModelInfo, ModelInfo, QuantizationInfo
from speechless.contract.modelinfo import GGUF
from speechless.models.gguf import FLOATS, INTEGERS, Header, read_header
from speechless.models.small import ids, text, whole, word

FILE_TYPES = {
    2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L",
    14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S",
    22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M",
    30: "IQ4_XS", 31: "IQ1_M", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4", 40: "Q1_0",
}  # fmt: skip
"""`general.file_type` of quantized files to the name that llama-quantize knows."""
ENDS = ("eos_token_id", "eot_token_id", "eom_token_id")
SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")


def read(path: Path) -> ModelInfo | None:
    """What the file's header says, or that of all shards; None for a folder with several models, or with a part of one.

    StageError(MODEL_INVALID) for a file that is no whole GGUF header.
    """
    files = files_of(path)
    return _info([read_header(file) for file in files]) if files else None


def files_of(path: Path) -> list[Path]:
    """The files of the one model: the file itself, the only one of a folder, all shards of one; else none."""
    if path.is_file():
        files = (
            sorted(path.parent.glob(f"{_stem(path)}-*-of-*.gguf")) if SHARD.fullmatch(path.name) else [path]
        )
    else:
        files = sorted(path.glob("*.gguf"))
    if len(files) == 1 and not SHARD.fullmatch(files[0].name):
        return files
    found = [match for file in files if (match := SHARD.fullmatch(file.name))]
    complete = {(match[1], int(match[2]), int(match[3])) for match in found} == {
        (match[1], number, len(files)) for match in found[:1] for number in range(1, len(files) + 1)
    }
    return files if complete and len(found) == len(files) else []


def _stem(path: Path) -> str:
    """A shard's name before its number, with nothing that means something in a pattern."""
    return re.sub(r"([*?[])", r"[\1]", path.name.rpartition("-of-")[0].rpartition("-")[0])


def _info(headers: Sequence[Header]) -> ModelInfo:
    told = headers[0].metadata
    architecture = told.get("general.architecture")
    tensors = [tensor for header in headers for tensor in header.tensors]
    counted: Counter[str] = Counter()
    for tensor in tensors:
        if tensor.type not in INTEGERS:
            counted[tensor.type] += math.prod(tensor.shape)
    tokens = told.get("tokenizer.ggml.tokens")
    size = whole(told.get(f"{architecture}.vocab_size")) or (
        len(tokens) if isinstance(tokens, list) else None
    )
    return ModelInfo(
        architecture=word(architecture),
        parameters=whole(counted.total()),
        dtype=None
        if set(counted) - set(FLOATS)
        else FLOATS[counted.most_common(1)[0][0]]
        if counted
        else None,
        context_length=whole(told.get(f"{architecture}.context_length")),
        vocabulary_size=whole(size),
        quantization=_quantization(told, counted, sum(header.data_bytes for header in headers)),
        chat_template=bool(told.get("tokenizer.chat_template")) if "tokenizer.ggml.model" in told else None,
        eos_token_ids=ids([told.get(f"tokenizer.ggml.{name}") for name in ENDS]),
        license=text(told.get("general.license")),
        base_model=_base(told),
        adapter=_adapter(told),
    )


def _quantization(told: Mapping[str, Any], counted: Counter[str], size: int) -> QuantizationInfo | None:
    """By the tensors, not by what the file calls itself; `size`: bytes of all tensors."""
    rounded = Counter({kind: count for kind, count in counted.items() if kind not in FLOATS})
    if not rounded:
        return None
    named = FILE_TYPES.get(whole(told.get("general.file_type"), 0) or 0)
    bits = round(8 * size / counted.total(), 2) if counted.total() else 0
    return QuantizationInfo(
        method=GGUF,
        type=named or word(rounded.most_common(1)[0][0]),
        bits=bits if 0 < bits <= 64 else None,
    )


def _base(told: Mapping[str, Any]) -> BaseModelInfo | None:
    name = text(told.get("general.base_model.0.repo_url")) or text(told.get("general.base_model.0.name"))
    return BaseModelInfo(name=name) if name else None


def _adapter(told: Mapping[str, Any]) -> AdapterInfo | None:
    if told.get("general.type") != "adapter":
        return None
    return AdapterInfo(type=(word(told.get("adapter.type")) or "unknown").upper())
