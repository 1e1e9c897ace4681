"""Landlock: a process gives up, for good, every file outside some folders (landlock(7); Linux 5.13 and later)."""

import ctypes
import os
from collections.abc import Iterable

from speechless.eval.sandbox import kernel

# The same numbers on every architecture (asm-generic/unistd.h).
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
CREATE_RULESET_VERSION = 1
RULE_PATH_BENEATH = 1

READ_FILE, READ_DIR = 1 << 2, 1 << 3
EXECUTE = 1 << 0
MAKE_CHAR, MAKE_BLOCK = 1 << 6, 1 << 11
DEVICES = MAKE_CHAR | MAKE_BLOCK
FILE_RIGHTS = EXECUTE | 1 << 1 | READ_FILE | 1 << 14 | 1 << 15
"""What a rule on a file that is no folder may hold: execute, write, read, truncate, ioctl."""

# Access rights by version of the interface: 13 at first; 2 added REFER, 3 TRUNCATE, 5 IOCTL_DEV.
RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
ALL_RIGHTS = (1 << 16) - 1


class _Ruleset(ctypes.Structure):
    _fields_ = [("handled_access_fs", ctypes.c_uint64)]


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32)]


def version() -> int:
    """The kernel's version of the interface, from 1; OSError where there is none or it is switched off."""
    return kernel.syscall(
        "landlock_create_ruleset",
        CREATE_RULESET,
        None,
        ctypes.c_size_t(0),
        ctypes.c_uint32(CREATE_RULESET_VERSION),
    )


def confine(*, readable: Iterable[str], writable: Iterable[str]) -> None:
    """Keep this process, and all it starts, to reading below `readable` and doing anything but exec below `writable`.

    Paths that do not exist are left out. What is open already stays open. Needs `no_new_privs`.
    """
    handled = RIGHTS.get(version(), ALL_RIGHTS)
    ruleset = kernel.syscall(
        "landlock_create_ruleset",
        CREATE_RULESET,
        ctypes.byref(_Ruleset(handled)),
        ctypes.c_size_t(ctypes.sizeof(_Ruleset)),
        ctypes.c_uint32(0),
    )
    try:
        for path in readable:
            _allow(ruleset, path, READ_FILE | READ_DIR)
        for path in writable:
            _allow(ruleset, path, handled & ~EXECUTE & ~DEVICES)
        kernel.syscall("landlock_restrict_self", RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not os.path.isdir(path):
            rights &= FILE_RIGHTS
        kernel.syscall(
            "landlock_add_rule",
            ADD_RULE,
            ctypes.c_int(ruleset),
            ctypes.c_int(RULE_PATH_BENEATH),
            ctypes.byref(_PathBeneath(rights, folder)),
            ctypes.c_uint32(0),
        )
    finally:
        os.close(folder)
