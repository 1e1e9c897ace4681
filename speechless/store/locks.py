"""Locks of files: held by a process, and let go of when it ends, however it ends (flock(2))."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class LocksError(OSError):
    """A file system without locks."""


def take(path: Path, *, shared: bool = False, wait: bool = True) -> int | None:
    """The handle by which a lock is held, of a file that is made where it is missing; None where others have it.

    Closing the handle lets go of it. A file that was removed or replaced meanwhile is not the lock any more.
    """
    kind = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    while True:
        # For writing: NFS makes locks of a whole file out of those of its bytes, which need it.
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, kind)
            if holds(handle, path):
                return handle
        except BlockingIOError:
            os.close(handle)
            return None
        except OSError as error:
            os.close(handle)
            raise LocksError(error.errno, f"it takes no locks ({error.strerror})", str(path)) from error
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def holds(handle: int, path: Path) -> bool:
    """Whether a handle is of the file that has this name now."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False
