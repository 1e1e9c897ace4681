"""The seccomp filter's decisions on both architectures, by a small machine that runs it."""

import errno

import pytest

from speechless.eval.sandbox.seccomp import (
    ARCHITECTURE,
    CLONE_THREAD,
    JUMP_AT_LEAST,
    JUMP_EQUAL,
    JUMP_SET,
    LOAD,
    MACHINES,
    NUMBER,
    RET_ALLOW,
    RET_ERRNO,
    RET_KILL_PROCESS,
    RETURN,
    program,
)

OWN = 1234
REFUSED = RET_ERRNO | errno.EPERM
FREE_CALLS = {
    "x86_64": {"read": 0, "openat": 257, "mmap": 9},
    "aarch64": {"read": 63, "openat": 56, "mmap": 222},
}


def decide(name: str, number: int, *arguments: int, audit: int | None = None) -> int:
    """Run the filter on one call."""
    machine = MACHINES[name]
    words = {NUMBER: number, ARCHITECTURE: machine.audit if audit is None else audit}
    for index in range(6):
        value = arguments[index] if index < len(arguments) else 0
        words[16 + 8 * index], words[20 + 8 * index] = value & 0xFFFFFFFF, value >> 32
    lines = program(machine, OWN)
    position, accumulator = 0, 0
    while True:
        code, if_true, if_false, constant = lines[position]
        position += 1
        if code == LOAD:
            accumulator = words[constant]
        elif code == RETURN:
            return constant
        else:
            true = {
                JUMP_EQUAL: accumulator == constant,
                JUMP_SET: bool(accumulator & constant),
                JUMP_AT_LEAST: accumulator >= constant,
            }[code]
            position += if_true if true else if_false


@pytest.mark.parametrize("name", MACHINES)
def test_decisions(name: str) -> None:
    machine = MACHINES[name]
    assert all(decide(name, number) == REFUSED for number in machine.denied.values())
    assert all(decide(name, number, 5) == RET_ALLOW for number in FREE_CALLS[name].values())
    assert decide(name, machine.clone, 17) == REFUSED
    assert decide(name, machine.clone, CLONE_THREAD | 0xF00) == RET_ALLOW
    assert decide(name, machine.clone3, 1) == RET_ERRNO | errno.ENOSYS
    for call in (machine.kill, machine.tgkill):
        assert decide(name, call, OWN, 9) == RET_ALLOW
        assert decide(name, call, 1, 9) == REFUSED
        assert decide(name, call, 0xFFFFFFFF, 9) == REFUSED
    assert decide(name, machine.prlimit64, 0, 7, 0) == RET_ALLOW
    assert decide(name, machine.prlimit64, 0, 7, 0x1000) == REFUSED
    assert decide(name, machine.prlimit64, 0, 7, 1 << 40) == REFUSED


@pytest.mark.parametrize("name", MACHINES)
def test_another_architecture_and_the_x32_calls_end_the_process(name: str) -> None:
    assert decide(name, 1, audit=0x40000003) == RET_KILL_PROCESS
    assert decide(name, 0x40000000 | 41) == RET_KILL_PROCESS
