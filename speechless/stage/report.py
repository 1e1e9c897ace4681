"""Where a stage's result goes: the pod's termination message, a file, or standard output."""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from speechless.contract import StageResult

log = logging.getLogger("speechless.stage")

TERMINATION_LOG = "SPEECHLESS_TERMINATION_LOG"
"""Environment variable: the file that the kubelet reads."""
_DEFAULT = Path("/dev/termination-log")


def report(result: StageResult, file: Path | None, gate_metrics: Sequence[str] = ()) -> None:
    """Write the result to `file` if one is named, and to the termination log; to standard output if there is neither.

    A result that cannot be written where it belongs is still told on standard output: the exit status alone would not
    say why. `gate_metrics` are never cut from the termination message.
    """
    target = termination_log()
    if target is not None:
        _write(target, result.termination_message(gate_metrics))
    if file is not None:
        _write(file, result.to_json(indent=1) + "\n")
    elif target is None:
        print(result.to_json(indent=1), flush=True)


def termination_log() -> Path | None:
    """The file that the kubelet reads, if this runs in a pod or the environment names one."""
    named = os.environ.get(TERMINATION_LOG)
    if named:
        return Path(named)
    return _DEFAULT if _DEFAULT.exists() else None


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        log.error("the result cannot be written to %s: %s; it is:", path, error.strerror)
        print(text, file=sys.stdout, flush=True)
