"""A program that runs beside a cluster for as long as somebody needs it, and never longer."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.wait import wait_for

NETNS = Path("/run/netns")


def inside(instance: str) -> list[str]:
    """The argv prefix that runs a command in the network namespace of an instance of `hack/cluster`."""
    return ["nsenter", f"--net={NETNS / f'speechless-{instance}'}", "--"]


@contextmanager
def running(
    argv: Sequence[str | Path],
    log: Path,
    ready: Callable[[], bool],
    *,
    seconds: float = 120,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the block ends; the kernel ends it with us, should we be killed.

    Raises:
        WaitError: It was not ready in time.
        AssertionError: It ended; the message has the end of its log.
    """
    with log.open("ab") as output:
        child = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *map(str, argv)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )

    def tail() -> str:
        return "\n".join(log.read_text(errors="replace").splitlines()[-30:])

    def up() -> bool:
        assert child.poll() is None, f"{argv[0]} ended with {child.returncode}\n{tail()}"
        return ready()

    try:
        wait_for(up, f"{log.stem} to be ready", timeout=seconds, describe=tail)
        yield child
        assert child.poll() is None, f"{argv[0]} ended with {child.returncode} meanwhile\n{tail()}"
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait(10)
