"""The operator in a process of its own, as it runs in a pod: started, asked for its health, stopped, killed.

A tier starts it some sixty times, and importing it takes 1.6 s of CPU: the processes are forked from one that has done
so (`multiprocessing`'s fork server). `run_to_end` starts a fresh interpreter, as people do.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from speechless_operator.desired.settings import image_names
from tests.support.cluster import ROOT
from tests.support.ports import free_port
from tests.support.wait import wait_for

IMAGES = {name: f"registry.invalid/{name}:test" for name in image_names()}
STORE = "pvc://artifacts/store"


class Operator:
    """One replica."""

    def __init__(self, process: ForkServerProcess, port: int, log: Path) -> None:
        self.process, self.port, self.log = process, port, log

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of a path of its health server; 0 while it does not listen."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return 0, ""

    def metric(self, name: str) -> float:
        """The value of a metric, its labels as they are written; 0 if it has none yet."""
        for line in self.get("/metrics")[1].splitlines():
            if line.startswith(f"{name} "):
                return float(line.rsplit(" ", 1)[1])
        return 0.0

    def wait_ready(self) -> None:
        """Until its cache is filled."""
        wait_for(self._ready, "the operator to be ready", timeout=40, describe=self.tail)

    def wait_leading(self) -> None:
        """Until it works."""
        wait_for(
            lambda: self.metric("speechless_operator_is_leader") == 1,
            "leadership",
            timeout=40,
            describe=self.tail,
        )

    def _ready(self) -> bool:
        assert self.process.is_alive(), f"the operator ended with {self.process.exitcode}\n{self.tail()}"
        return self.get("/readyz")[0] == 200

    def tail(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text().splitlines()[-40:])

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 30) -> int:
        """Send a signal and wait for its end; its exit status, negative for a signal."""
        if self.process.is_alive():
            assert self.process.pid is not None
            os.kill(self.process.pid, number)
        return self.wait(seconds)

    def wait(self, seconds: float) -> int:
        """Wait for its end; its exit status, negative for a signal."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, f"the operator did not end in {seconds:g} s\n{self.tail()}"
        return self.process.exitcode


@cache
def _forks() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["speechless_operator.runtime.access", "speechless_operator.runtime.app"])
    return context


def _operator(argv: Sequence[str], env: dict[str, str], log: Path) -> None:
    """In the new process: its environment, its output, and then the operator's own main."""
    os.environ.clear()
    os.environ.update(env)
    # Chosen by TMPDIR when it is first asked for.
    tempfile.tempdir = None
    with log.open("wb") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    from speechless_operator.main import main

    sys.exit(main(argv))


@contextmanager
def running(
    kubeconfig: Path, namespace: str, folder: Path, *flags: str, ready: bool = True
) -> Iterator[Operator]:
    """Run an operator that watches one namespace."""
    port = free_port()
    log = folder / f"operator-{port}.log"
    argv = [
        "run", f"--namespace={namespace}", f"--lease-namespace={namespace}", f"--listen=127.0.0.1:{port}",
        f"--artifact-store={STORE}", "--allow-code-execution",
        *(f"--image-{name}={image}" for name, image in IMAGES.items()), *flags,
    ]  # fmt: skip
    env = os.environ | {
        "KUBECONFIG": str(kubeconfig),
        "NO_PROXY": "*",
        "no_proxy": "*",
        # kopf writes the kubeconfig's certificates to temporary files; of an operator that is killed they stay.
        "TMPDIR": str(folder),
    }
    log.touch()
    process = _forks().Process(target=_operator, args=(argv, env, log))
    process.start()
    operator = Operator(process, port, log)
    try:
        if ready:
            operator.wait_ready()
        yield operator
    finally:
        process.kill()
        process.join(30)
        # Shown by pytest when the test failed.
        print(f"--- {log.name}\n{log.read_text()}")


def run_to_end(kubeconfig: Path, *flags: str) -> tuple[int, str]:
    """Run an operator that is expected to end by itself; its exit status and what it said."""
    env = os.environ | {"KUBECONFIG": str(kubeconfig), "NO_PROXY": "*", "no_proxy": "*"}
    argv = [sys.executable, "-m", "speechless_operator", "run", f"--listen=127.0.0.1:{free_port()}", *flags]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    return done.returncode, done.stderr
