"""Where to compute, in which precision, with how many threads."""

import importlib.util
import logging
import os
import re
from dataclasses import dataclass

import torch

from speechless.contract import FailureReason, Precision
from speechless.cpus import usable_cpus
from speechless.errors import StageError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Device:
    """Where a run computes."""

    name: str
    """cpu or cuda."""
    bf16: bool


def choose(precision: Precision) -> Device:
    """The GPU if there is one, else the CPU; StageError(INVALID_SPEC) if it cannot do what is asked for.

    On a CPU without bfloat16 units, bfloat16 is emulated and some 25 times slower than float32 (measured on AVX2), so
    it is refused instead of obeyed.
    """
    cuda = torch.cuda.is_available()
    able = cuda and torch.cuda.is_bf16_supported()
    if precision in {Precision.BF16, Precision.PURE_BF16} and not able:
        what = f"precision {precision} needs a GPU that computes in bfloat16; this runs on {_name(cuda)}"
        raise StageError(FailureReason.INVALID_SPEC, what, "use FP32 (--bits 32), or Auto")
    return Device("cuda" if cuda else "cpu", able and precision is not Precision.FP32)


def settle(seed: int) -> None:
    """Make runs repeatable: seeds, deterministic algorithms, and threads by what the container may use."""
    from transformers import set_seed

    # cuBLAS reads it when it is loaded (NVIDIA cuBLAS documentation, "Results reproducibility").
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # It would also fill every new tensor, to show who reads one before writing it: a tenth of a step's time.
    torch.utils.deterministic.fill_uninitialized_memory = False
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(usable_cpus())
    set_seed(seed)


def _name(cuda: bool) -> str:
    return torch.cuda.get_device_name() if cuda else "a CPU"


def check_optimizer(name: str, where: Device) -> None:
    """StageError(INVALID_SPEC) for an optimizer of bitsandbytes without a GPU, or without that package."""
    if not _BITSANDBYTES.search(name):
        return
    if where.name != "cuda":
        what = f"optim {name} is one of bitsandbytes and needs a GPU; this runs on {_name(cuda=False)}"
        raise StageError(FailureReason.INVALID_SPEC, what, "use adamw_torch")
    if importlib.util.find_spec("bitsandbytes") is None:
        what = f"optim {name} needs the package bitsandbytes, which is not installed"
        raise StageError(FailureReason.INVALID_SPEC, what, "pip install bitsandbytes, or use adamw_torch")


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
