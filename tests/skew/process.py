"""The older version's operator in a process, to be used as today's is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.apiserver.operator.process import IMAGES, STORE, Operator
from tests.skew.archive import environment, tree
from tests.support.ports import free_port
from tests.support.wait import wait_for


class Process:
    """A program with the manners of multiprocessing's processes."""

    def __init__(self, argv: list[str], env: dict[str, str], log: Path) -> None:
        with log.open("wb") as output:
            self._program = subprocess.Popen(argv, env=env, cwd=tree(), stdout=output, stderr=output)
        self.pid = self._program.pid

    @property
    def exitcode(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return self._program.poll()

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self.exitcode is None

    def join(self, seconds: float | None = None) -> None:
        """Wait for its end, so long at most."""
        try:
            self._program.wait(seconds)
        except subprocess.TimeoutExpired:
            return  # as multiprocessing's join does: `exitcode` tells

    def kill(self) -> None:
        """End it at once."""
        self._program.kill()


@contextmanager
def running_old(kubeconfig: Path, namespace: str, folder: Path) -> Iterator[Operator]:
    """Run the older operator for one namespace, with the flags that today's has in tests."""
    port = free_port()
    log = folder / f"old-operator-{port}.log"
    argv = [
        sys.executable, "-m", "speechless_operator", "run", f"--namespace={namespace}",
        f"--lease-namespace={namespace}", f"--listen=127.0.0.1:{port}", f"--artifact-store={STORE}",
        "--allow-code-execution", *(f"--image-{name}={image}" for name, image in IMAGES.items()),
    ]  # fmt: skip
    more = {"KUBECONFIG": str(kubeconfig), "NO_PROXY": "*", "no_proxy": "*", "TMPDIR": str(folder)}
    process: Any = Process(argv, environment() | more, log)
    operator = Operator(process, port, log)
    try:
        # A fresh interpreter, which imports everything.
        wait_for(
            lambda: operator.get("/readyz")[0] == 200,
            "the older operator to be ready",
            timeout=120,
            describe=operator.tail,
        )
        yield operator
    finally:
        process.kill()
        process.join(30)
        print(f"--- {log.name}\n{log.read_text()}")
