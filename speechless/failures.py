"""From an exception to what the result says and the exit status that goes with it."""

import logging
import sys

from speechless.contract import Failure, FailureReason
from speechless.errors import StageError

log = logging.getLogger(__name__)

# PyTorch's CPU allocator has no exception type of its own (c10/core/impl/alloc_cpu.cpp), nor has its mmap of a file.
_SIGNS = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "Cannot allocate memory",
)


def failure_of(error: Exception) -> Failure:
    """What went wrong, for the result; the traceback of what nobody expected goes to the log."""
    if isinstance(error, StageError):
        return Failure(reason=error.reason, message=error.message, hint=error.hint)
    if is_out_of_memory(error):
        log.error("out of memory", exc_info=error)
        return Failure(
            reason=FailureReason.OUT_OF_MEMORY,
            message=f"out of memory: {_first_line(error)}",
            hint="give it more memory, or make the batch, the sequence or the model smaller",
        )
    log.error("it failed unexpectedly", exc_info=error)
    return Failure(
        reason=FailureReason.INTERNAL_ERROR,
        message=f"{type(error).__name__}: {_first_line(error)}",
        hint="the traceback is in the log",
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: Python's, PyTorch's on the CPU, or a GPU's. Does not import torch."""
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    if isinstance(error, RuntimeError | OSError) and any(sign in str(error) for sign in _SIGNS):
        return True
    return error.__cause__ is not None and is_out_of_memory(error.__cause__)


def _first_line(error: Exception) -> str:
    return (str(error).strip().partition("\n")[0] or "no message")[:500]
