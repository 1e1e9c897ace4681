"""Locks of the test processes of this user on this machine.

Several processes (pytest-xdist's workers, two runs at once) share one cluster instance. Each holds a shared lock on the
instance while it uses it; the kernel lets go of the lock when a process dies, so that nothing is ever counted wrong.
The instance is started by whoever comes first and stopped by whoever finds no other user.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def lock_path(name: str) -> Path:
    """A file of this user in a folder that only this user can enter."""
    folder = Path(tempfile.gettempdir()) / f"speechless-tests-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / name


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold an exclusive lock shared by all test processes of this user."""
    with lock_path(f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Users:
    """Who uses an instance: a shared lock a process."""

    def __init__(self, instance: str) -> None:
        # Opened for as long as the lock is held: a lock belongs to the open file.
        self._file = lock_path(f"{instance}.users").open("w")

    def alone(self) -> bool:
        """Take the lock exclusively if nobody else has it."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def join(self) -> None:
        """Hold the lock with others."""
        fcntl.flock(self._file, fcntl.LOCK_SH)

    def leave(self) -> None:
        """Let go of the lock."""
        self._file.close()
