"""From an exception to a reason and an exit status."""

import logging
import sys
import types

import pytest

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.failures import failure_of


def test_a_stage_error_is_told_as_it_is() -> None:
    failure = failure_of(StageError(FailureReason.DATASET_INVALID, "rows.jsonl:3: empty", "remove it"))
    assert (failure.reason, failure.message, failure.hint) == (
        "DatasetInvalid",
        "rows.jsonl:3: empty",
        "remove it",
    )


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(12, "Cannot allocate memory"),
        RuntimeError("unable to mmap 4943163187 bytes from file <a>: Cannot allocate memory (12)"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried..."
        ),
    ],
)
def test_memory_that_ran_out_is_no_retry(error: Exception) -> None:
    failure = failure_of(error)
    assert failure.reason is FailureReason.OUT_OF_MEMORY
    assert failure.reason.exit_code == 77


class _LibraryError(Exception):
    """Such as safetensors'."""


def _again() -> RuntimeError:
    """What PyTorch says of its archive after a write that failed."""
    try:
        raise OSError(28, "No space left on device")
    except OSError:
        try:
            raise RuntimeError(
                "[enforce fail at inline_container.cc:672] . unexpected pos 1917184 vs 1917076"
            )
        except RuntimeError as error:
            return error


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device", "a/weights"),
        OSError(122, "Disk quota exceeded"),
        _LibraryError("Error while serializing: I/O error: No space left on device (os error 28)"),
        _again(),
    ],
)
def test_a_disk_that_is_full_is_told_as_that(error: Exception) -> None:
    failure = failure_of(error)
    assert failure.reason is FailureReason.STORE_FULL
    assert failure.message.startswith("the disk is full: ")
    assert failure_of(_LibraryError("no such space")).reason is FailureReason.INTERNAL_ERROR


def test_a_gpus_memory_counts_without_importing_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = types.ModuleType("torch")
    torch.OutOfMemoryError = type("OutOfMemoryError", (RuntimeError,), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    wrapped = ValueError("training failed")
    wrapped.__cause__ = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
    assert failure_of(wrapped).reason is FailureReason.OUT_OF_MEMORY


def test_what_nobody_expected_is_short_in_the_result_and_whole_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR)
    try:
        raise KeyError("x" * 5000)
    except KeyError as error:
        failure = failure_of(error)
    assert failure.reason is FailureReason.INTERNAL_ERROR
    assert failure.reason.exit_code == 70
    assert failure.message.startswith("KeyError: 'xxx")
    assert len(failure.message) < 600
    assert "Traceback" in caplog.text
