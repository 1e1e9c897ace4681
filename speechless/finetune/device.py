"""Where to compute, in which precision, with how many threads."""

import logging
import os
from dataclasses import dataclass

import torch

from speechless.contract import FailureReason
from speechless.cpus import usable_cpus
from speechless.errors import StageError
from speechless.finetune.job import Precision

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
    if precision is Precision.BF16 and not able:
        what = f"bits: 16 needs a GPU that computes in bfloat16; this runs on {_name(cuda)}"
        raise StageError(FailureReason.INVALID_SPEC, what, "use 32, or auto")
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
