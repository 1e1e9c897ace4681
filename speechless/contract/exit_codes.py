"""What a stage's exit status means; the operator's `podFailurePolicy` is made from it.

The numbers are those of sysexits.h where one fits.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """0 done; 64, 65, 66, 70 and 77 are final; 69 and 75 are worth another attempt."""

    OK = 0
    INVALID_SPEC = 64
    """EX_USAGE: the stage spec is wrong: a field, or two that do not fit together."""
    BAD_DATA = 65
    """EX_DATAERR: a dataset's row, a model's folder or an artifact's digest is wrong."""
    INPUT_MISSING = 66
    """EX_NOINPUT: an input does not exist or may not be read."""
    UNAVAILABLE = 69
    """EX_UNAVAILABLE: a store or service did not answer; the same again may succeed."""
    INTERNAL = 70
    """EX_SOFTWARE: an error that the stage did not expect; its traceback is in the log."""
    INTERRUPTED = 75
    """EX_TEMPFAIL: SIGTERM; what can be saved was saved, and a new attempt goes on from there."""
    OUT_OF_MEMORY = 77
    """The process or its GPU ran out of memory; the same again would, too."""


RETRIABLE = frozenset({ExitCode.UNAVAILABLE, ExitCode.INTERRUPTED})
"""Exit codes after which a new attempt makes sense. All others end the Job (`FailJob`)."""
