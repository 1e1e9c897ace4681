"""From the operating system's errors to a reason that a user understands and a Job's retry policy can act on."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from speechless.contract import FailureReason
from speechless.errors import StageError

_MISSING = {errno.ENOENT, errno.ENOTDIR}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def reading(uri: str) -> Iterator[None]:
    """Turn an OSError while reading `uri` into a StageError that names it."""
    try:
        yield
    except OSError as error:
        what = f"{uri}: {_told(error)}"
        if error.errno in _MISSING:
            hint = "check the URI; a pvc:// path is relative to the claim's root"
            raise StageError(FailureReason.INPUT_NOT_FOUND, what, hint) from error
        if error.errno in _FORBIDDEN:
            hint = "let the stage's user or group read it (pods set fsGroup on volumes that support it)"
            raise StageError(FailureReason.INPUT_FORBIDDEN, what, hint) from error
        raise StageError(
            FailureReason.STORE_UNAVAILABLE, what, "the store did not answer; try again"
        ) from error


@contextmanager
def writing(uri: str) -> Iterator[None]:
    """Turn an OSError while writing below `uri` into a StageError that names it."""
    try:
        yield
    except OSError as error:
        what = f"{uri} cannot be written: {_told(error)}"
        if error.errno in _FULL:
            hint = "free space or enlarge the volume; half-written files of this attempt were removed"
            raise StageError(FailureReason.STORE_FULL, what, hint) from error
        if error.errno in _FORBIDDEN:
            hint = "mount the output's volume read-write and let the stage's user or group write to it"
            raise StageError(FailureReason.INPUT_FORBIDDEN, what, hint) from error
        raise StageError(
            FailureReason.STORE_UNAVAILABLE, what, "the store did not answer; try again"
        ) from error


def _told(error: OSError) -> str:
    """Such as `Permission denied (/mnt/models/base/config.json)`."""
    text = error.strerror or str(error)
    return f"{text} ({error.filename})" if error.filename else text
