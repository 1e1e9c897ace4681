"""A seccomp filter: no new processes, no sockets, no signals to others, no raised limits (seccomp(2)).

Needs no privileges but `no_new_privs`. The filter is a program for the kernel's classic BPF machine, which sees a
call's number, architecture and arguments (struct seccomp_data, linux/seccomp.h).
"""

import ctypes
import errno
import os

from speechless.eval.sandbox import kernel

MODE_FILTER = 2
RET_KILL_PROCESS, RET_ERRNO, RET_ALLOW = 0x80000000, 0x00050000, 0x7FFF0000

# linux/bpf_common.h: load a word, jump if equal, jump if any bit is set, jump if greater or equal, return.
LOAD, JUMP_EQUAL, JUMP_SET, JUMP_AT_LEAST, RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
NUMBER, ARCHITECTURE = 0, 4

X32_BIT = 0x40000000
CLONE_THREAD = 0x00010000

# Refused whatever their arguments. Network: socket and io_uring, which opens sockets past this filter. Processes: fork
# and exec. Others' processes: tracing, memory, descriptors, signals. The machine: namespaces, mounts, keys, limits.
_DENIED_X86_64 = {
    "socket": 41, "io_uring_setup": 425,
    "fork": 57, "vfork": 58, "execve": 59, "execveat": 322,
    "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "pidfd_open": 434, "pidfd_getfd": 438,
    "tkill": 200, "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297, "pidfd_send_signal": 424,
    "unshare": 272, "setns": 308, "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "fsopen": 430,
    "fsmount": 432, "open_tree": 428, "move_mount": 429, "mount_setattr": 442, "open_by_handle_at": 304,
    "add_key": 248, "request_key": 249, "keyctl": 250, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323,
    "setrlimit": 160, "shmget": 29, "semget": 64, "msgget": 68, "mq_open": 240,
}  # fmt: skip
_DENIED_AARCH64 = {
    "socket": 198, "io_uring_setup": 425,
    "execve": 221, "execveat": 281,
    "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "pidfd_open": 434, "pidfd_getfd": 438,
    "tkill": 130, "rt_sigqueueinfo": 138, "rt_tgsigqueueinfo": 240, "pidfd_send_signal": 424,
    "unshare": 97, "setns": 268, "mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51, "fsopen": 430,
    "fsmount": 432, "open_tree": 428, "move_mount": 429, "mount_setattr": 442, "open_by_handle_at": 265,
    "add_key": 217, "request_key": 218, "keyctl": 219, "bpf": 280, "perf_event_open": 241, "userfaultfd": 282,
    "setrlimit": 164, "shmget": 194, "semget": 190, "msgget": 186, "mq_open": 180,
}  # fmt: skip


class _Machine:
    """What differs from one architecture to the next: its audit name and the numbers of its calls."""

    def __init__(
        self,
        audit: int,
        denied: dict[str, int],
        *,
        clone: int,
        clone3: int,
        kill: int,
        tgkill: int,
        prlimit64: int,
    ) -> None:
        self.audit = audit
        self.denied = denied
        self.clone = clone
        self.clone3 = clone3
        self.kill = kill
        self.tgkill = tgkill
        self.prlimit64 = prlimit64


MACHINES = {
    "x86_64": _Machine(0xC000003E, _DENIED_X86_64, clone=56, clone3=435, kill=62, tgkill=234, prlimit64=302),
    "aarch64": _Machine(
        0xC00000B7, _DENIED_AARCH64, clone=220, clone3=435, kill=129, tgkill=131, prlimit64=261
    ),
}


class _Instruction(ctypes.Structure):
    _fields_ = [
        ("code", ctypes.c_uint16),
        ("jt", ctypes.c_uint8),
        ("jf", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    ]


class _Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_uint16), ("filter", ctypes.POINTER(_Instruction))]


Program = list[tuple[int, int, int, int]]
"""Instructions: (code, jump if true, jump if false, constant)."""


def program(machine: _Machine, own_pid: int) -> Program:
    """The filter for one architecture and the one process that it will hold."""
    refuse = (RETURN, 0, 0, RET_ERRNO | errno.EPERM)
    unknown = (RETURN, 0, 0, RET_ERRNO | errno.ENOSYS)
    lines: Program = [
        (LOAD, 0, 0, ARCHITECTURE),
        (JUMP_EQUAL, 1, 0, machine.audit),
        (RETURN, 0, 0, RET_KILL_PROCESS),
        (LOAD, 0, 0, NUMBER),
        (JUMP_AT_LEAST, 0, 1, X32_BIT),
        (RETURN, 0, 0, RET_KILL_PROCESS),
    ]
    for number in sorted(machine.denied.values()):
        lines += [(JUMP_EQUAL, 0, 1, number), refuse]
    # The flags of clone3 are behind a pointer, which a filter cannot follow: glibc falls back to clone on ENOSYS.
    lines += [(JUMP_EQUAL, 0, 1, machine.clone3), unknown]
    # A thread is allowed, a process is not: the flags are clone's first argument.
    lines += [(JUMP_EQUAL, 0, 3, machine.clone), _load(0), (JUMP_SET, 1, 0, CLONE_THREAD), refuse, _reload()]
    # A signal is allowed to itself only (abort, raise).
    for number in (machine.kill, machine.tgkill):
        lines += [(JUMP_EQUAL, 0, 3, number), _load(0), (JUMP_EQUAL, 1, 0, own_pid), refuse, _reload()]
    # prlimit64 may read limits: its third argument, the new limit, must be null. Its two halves are words.
    lines += [(JUMP_EQUAL, 0, 5, machine.prlimit64), _load(2), (JUMP_EQUAL, 0, 2, 0), _load(2, high=True)]
    lines += [(JUMP_EQUAL, 1, 0, 0), refuse, (RETURN, 0, 0, RET_ALLOW)]
    return lines


def _load(argument: int, *, high: bool = False) -> tuple[int, int, int, int]:
    """Load one half of an argument: 16 bytes stand before the arguments, and both machines are little-endian."""
    return (LOAD, 0, 0, 16 + 8 * argument + (4 if high else 0))


def _reload() -> tuple[int, int, int, int]:
    return (LOAD, 0, 0, NUMBER)


def install() -> None:
    """Put the filter on this process for good; OSError where the kernel or the architecture has none."""
    architecture = os.uname().machine
    machine = MACHINES.get(architecture)
    if machine is None:
        raise OSError(errno.ENOSYS, f"no seccomp filter for {architecture}")
    lines = program(machine, os.getpid())
    instructions = (_Instruction * len(lines))(*(_Instruction(*line) for line in lines))
    kernel.prctl(kernel.PR_SET_SECCOMP, MODE_FILTER, ctypes.byref(_Program(len(lines), instructions)))
