"""From an exception to what the result says and the exit status that goes with it."""

import errno
import logging
import sys

from speechless.contract import Failure, FailureReason
from speechless.errors import StageError, words_of

log = logging.getLogger(__name__)

# PyTorch's CPU allocator has no exception type of its own (c10/core/impl/alloc_cpu.cpp), nor has its mmap of a file.
_SIGNS = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "Cannot allocate memory",
)
# safetensors has the system's text alone; of PyTorch's archive a short write is noticed by its place
# (caffe2/serialize/inline_container.cc).
_NO_ROOM = (
    "No space left on device",
    "Disk quota exceeded",
    "PytorchStreamWriter failed writing",
    "unexpected pos ",
)


def failure_of(error: Exception) -> Failure:
    """What went wrong, for the result; the traceback of what nobody expected goes to the log."""
    if isinstance(error, StageError):
        return Failure(reason=error.reason, message=error.message, hint=error.hint)
    if known := of_the_machine(error):
        log.debug("%s", known.message, exc_info=error)
        return Failure(reason=known.reason, message=known.message, hint=known.hint)
    log.error("it failed unexpectedly", exc_info=error)
    return Failure(
        reason=FailureReason.INTERNAL_ERROR,
        message=f"{type(error).__name__}: {_first_line(error)}",
        hint="the traceback is in the log",
    )


def of_the_machine(error: Exception) -> StageError | None:
    """What a library's error means where the machine lacked memory or room on a disk; None: it did not."""
    if is_out_of_memory(error):
        hint = "give it more memory, or make the batch, the sequence or the model smaller"
        return StageError(FailureReason.OUT_OF_MEMORY, f"out of memory: {_first_line(error)}", hint)
    if _is_disk_full(error):
        hint = "free some, or let the output go to another disk"
        named = isinstance(error, OSError) and error.filename is not None
        what = (
            words_of(error) if named else "what was to be written has no room"
        )  # libraries tell their own places
        return StageError(FailureReason.STORE_FULL, f"the disk is full: {what}", hint)
    return None


def _is_disk_full(error: BaseException | None) -> bool:
    """Also where a library tells it in a text alone, or fails once more because of it."""
    if error is None:
        return False
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or any(sign in str(error) for sign in _NO_ROOM):
        return True
    return _is_disk_full(error.__cause__ or error.__context__)


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
