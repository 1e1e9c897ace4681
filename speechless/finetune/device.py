"""Where to compute, and in which precision."""

import importlib.util
import logging
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from speechless.contract import FailureReason, Precision, Qlora
from speechless.errors import StageError
from speechless.finetune import liger
from speechless.finetune.context import configuration

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Device:
    """Where a run computes."""

    name: str
    """cpu or cuda."""
    bf16: bool


def choose(precision: Precision) -> Device:
    """NVIDIA's GPU if there is one, else the CPU; StageError(INVALID_SPEC) if it cannot do what is asked for.

    On a CPU without bfloat16 units, bfloat16 is emulated and some 25 times slower than float32 (measured on AVX2), so
    it is refused instead of obeyed.
    """
    cuda = torch.cuda.is_available()
    if not cuda and torch.backends.mps.is_available():
        log.warning("the GPU of Apple's silicon (MPS) is not offered: this runs on the CPU")
    able = cuda and torch.cuda.is_bf16_supported()
    if precision in {Precision.BF16, Precision.PURE_BF16} and not able:
        what = f"precision {precision} needs a GPU that computes in bfloat16; this runs on {_name(cuda)}"
        raise StageError(FailureReason.INVALID_SPEC, what, "use FP32 (--bits 32), or Auto")
    return Device("cuda" if cuda else "cpu", able and precision is not Precision.FP32)


def _name(cuda: bool) -> str:
    return torch.cuda.get_device_name() if cuda else "a CPU"


def check_optimizer(name: str, where: Device) -> None:
    """StageError(INVALID_SPEC) for an optimizer of bitsandbytes without a GPU, or without that package."""
    if not _BITSANDBYTES.search(name):
        return
    if where.name != "cuda":
        what = f"optim {name} is one of bitsandbytes and needs a GPU; this runs on {_name(cuda=False)}"
        raise StageError(FailureReason.INVALID_SPEC, what, "use adamw_torch")
    _need_bitsandbytes(f"optim {name}", "use adamw_torch")


def check_bits(held: Qlora | None, where: Device) -> None:
    """StageError(INVALID_SPEC) for weights in fewer bits without bitsandbytes; a warning where they are of little use.

    bitsandbytes computes with 4 and 8 bits on a CPU, too: in an eighth or a quarter of float32's memory, and in as much
    time or a fifth more (measured: a Llama of hidden size 512, batches of 64 and of 1024 tokens).
    """
    if held is None:
        return
    _need_bitsandbytes("method QLoRA", "use method LoRA (--bits 16, 32 or auto)")
    if where.name != "cuda":
        log.warning("method QLoRA is for GPUs: on this CPU it saves memory, not time")


def _need_bitsandbytes(what: str, instead: str) -> None:
    if importlib.util.find_spec("bitsandbytes") is None:
        told = f"{what} needs the package bitsandbytes, which is not installed"
        hint = f"pip install 'speechless-llm[qlora]' brings it; or {instead}"
        raise StageError(FailureReason.INVALID_SPEC, told, hint)


def check_liger(*, asked: bool, model: Path, where: Device) -> None:
    """StageError(INVALID_SPEC) for Liger's kernels without a GPU or their package, or for a model unknown to them."""
    if not asked:
        return
    what, hint = "useLigerKernel", "leave it out"
    if where.name != "cuda":
        told = f"{what}: Liger's kernels need a GPU; this runs on {_name(cuda=False)}"
        raise StageError(FailureReason.INVALID_SPEC, told, hint)
    if importlib.util.find_spec("liger_kernel") is None:
        told = f"{what} needs the package liger-kernel, which is not installed"
        hint = f"pip install 'speechless-llm[liger]' brings it; or {hint}"
        raise StageError(FailureReason.INVALID_SPEC, told, hint)
    liger.check(str(configuration(model).get("model_type")))


def limit_memory(megabytes: int | None, where: Device) -> None:
    """Let this process take no more of its GPU; without a GPU there is nothing to limit."""
    if megabytes is None:
        return
    if where.name != "cuda":
        log.warning(
            "--max_memory_MB is a limit of a GPU's memory, and this runs on a CPU: nothing is limited"
        )
        return
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, megabytes * 1e6 / total))


def attention(asked: str | None, where: Device) -> str | None:
    """How attention is computed, by Transformers' name; None: as it chooses.

    FlashAttention (Dao, 2023, arXiv:2307.08691) is taken where it is installed. StageError(INVALID_SPEC) if it is asked
    for and cannot be had.
    """
    there = where.name == "cuda" and where.bf16 and importlib.util.find_spec("flash_attn") is not None
    if asked == "flash_attention_2" and not there:
        what = "attnImplementation flash_attention_2 needs a GPU, bfloat16 and the package flash-attn"
        raise StageError(FailureReason.INVALID_SPEC, what, "use sdpa, or leave it out")
    return asked or ("flash_attention_2" if there else None)


_BITSANDBYTES = re.compile(r"8bit|32bit|bnb|ademamix")
