"""The system calls that Python has no function for: prctl, capset, unshare. Linux only."""

import ctypes
import os

PR_SET_PDEATHSIG = 1
PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000

CAPABILITY_VERSION_3 = 0x20080522
"""linux/capability.h: 64-bit sets in two 32-bit words."""

_libc = ctypes.CDLL(None, use_errno=True)


class _CapHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _CapData(ctypes.Structure):
    _fields_ = [
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    ]


def prctl(option: int, value: int = 0, pointer: object = None) -> int:
    """prctl(2); OSError when the kernel refuses."""
    zero = ctypes.c_ulong(0)
    answer: int = _libc.prctl(option, ctypes.c_ulong(value), pointer or zero, zero, zero)
    if answer < 0:
        _fail("prctl")
    return answer


def syscall(name: str, number: int, *args: object) -> int:
    """A system call by its number; OSError, with its name, when the kernel refuses."""
    answer: int = _libc.syscall(ctypes.c_long(number), *args)
    if answer < 0:
        _fail(name)
    return answer


def drop_capabilities() -> None:
    """Give up every capability (capset(2)), so that root is a user like any other. Without them it changes nothing."""
    header = _CapHeader(CAPABILITY_VERSION_3, 0)
    if _libc.capset(ctypes.byref(header), (_CapData * 2)()) != 0:
        _fail("capset")


def enter_empty_network() -> None:
    """Move this process into a user namespace and a network of its own without interfaces; OSError when forbidden."""
    uid, gid = os.getuid(), os.getgid()
    if _libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        _fail("unshare")
    # Without a map the process would own none of its files: user_namespaces(7).
    for name, line in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(line)


def _fail(name: str) -> None:
    number = ctypes.get_errno()
    raise OSError(number, f"{name}: {os.strerror(number)}")
