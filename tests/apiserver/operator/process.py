"""The operator as a subprocess, as it runs in a pod: started, asked for its health, stopped, killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.cluster import ROOT
from tests.support.wait import wait_for

IMAGES = {name: f"registry.invalid/{name}:test" for name in ("train", "eval", "quantize", "serve-llamacpp")}
STORE = "pvc://artifacts/store"


class Operator:
    """One replica."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
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
        assert self.process.poll() is None, (
            f"the operator ended with {self.process.returncode}\n{self.tail()}"
        )
        return self.get("/readyz")[0] == 200

    def tail(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text().splitlines()[-40:])

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 30) -> int:
        """Send a signal and wait for its end; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(seconds)


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    kubeconfig: Path, namespace: str, folder: Path, *flags: str, ready: bool = True
) -> Iterator[Operator]:
    """Run an operator that watches one namespace."""
    port = free_port()
    log = folder / f"operator-{port}.log"
    argv = [
        sys.executable, "-m", "speechless_operator", "run",
        f"--namespace={namespace}", f"--lease-namespace={namespace}", f"--listen=127.0.0.1:{port}",
        f"--artifact-store={STORE}", "--allow-code-execution",
        *(f"--image-{name}={image}" for name, image in IMAGES.items()), *flags,
    ]  # fmt: skip
    env = os.environ | {
        "KUBECONFIG": str(kubeconfig),
        "NO_PROXY": "*",
        "no_proxy": "*",
        "PYTHONPATH": str(ROOT),
        # kopf writes the kubeconfig's certificates to temporary files; of an operator that is killed they stay.
        "TMPDIR": str(folder),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(argv, env=env, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT)
    operator = Operator(process, port, log)
    try:
        if ready:
            operator.wait_ready()
        yield operator
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(30)
        # Shown by pytest when the test failed.
        print(f"--- {log.name}\n{log.read_text()}")


def run_to_end(kubeconfig: Path, *flags: str) -> tuple[int, str]:
    """Run an operator that is expected to end by itself; its exit status and what it said."""
    env = os.environ | {"KUBECONFIG": str(kubeconfig), "NO_PROXY": "*", "no_proxy": "*"}
    argv = [sys.executable, "-m", "speechless_operator", "run", f"--listen=127.0.0.1:{free_port()}", *flags]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    return done.returncode, done.stderr
