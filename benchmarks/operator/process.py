"""The operator as a real process with its default flags, and what it costs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from speechless_operator.desired.settings import image_names
from tests.support.beside import inside, running
from tests.support.wait import wait_for

PORT = 18081
STORE = "pvc://artifacts/store"
_TICKS = os.sysconf("SC_CLK_TCK")


class Operator:
    """A running operator."""

    def __init__(self, child: subprocess.Popen[bytes], address: str, log: Path) -> None:
        """`address` is where its health server is reached."""
        self.child, self.log = child, log
        self._url = f"http://{address}:{PORT}"

    def get(self, path: str) -> str:
        """What its health server says; empty while it does not listen, or says no."""
        try:
            with urllib.request.urlopen(self._url + path, timeout=30) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return ""

    def total(self, name: str, **labels: str) -> float:
        """The sum of a metric over all label sets that have these values."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in self.get("/metrics").splitlines()
            if re.match(rf"{name}[{{ ]", line) and all(each in line for each in wanted)
        )

    def ready(self) -> bool:
        """Whether its cache is filled and it leads."""
        return bool(self.get("/readyz")) and self.total("speechless_operator_is_leader") == 1

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        fields = Path(f"/proc/{self.child.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory_mib(self, what: str = "VmRSS") -> float:
        """Resident memory now, or at its peak (`VmHWM`)."""
        text = Path(f"/proc/{self.child.pid}/status").read_text()
        found = re.search(rf"^{what}:\s+(\d+) kB", text, re.MULTILINE)
        assert found, text
        return int(found[1]) / 1024


@contextmanager
def operator(instance: str, address: str, kubeconfig: Path, folder: Path, *flags: str) -> Iterator[Operator]:
    """Run it in the instance's network namespace, where pods' addresses are reached, until the block ends."""
    log = folder / "operator.log"
    argv: list[str | Path] = [
        *inside(instance),
        "env", f"KUBECONFIG={kubeconfig}", "NO_PROXY=*", "no_proxy=*",
        sys.executable, "-m", "speechless_operator", "run",
        f"--listen=0.0.0.0:{PORT}", "--lease-namespace=default", f"--artifact-store={STORE}",
        *(f"--image-{name}=registry.invalid/{name}:bench" for name in image_names()), *flags,
    ]  # fmt: skip
    with running(argv, log, lambda: True) as child:
        yield Operator(child, address, log)


def wait_ready(process: Operator, began: float, seconds: float = 120) -> float:
    """Wait until it works; seconds since `began`."""
    wait_for(
        process.ready, "the operator to lead", timeout=seconds, interval=0.05, describe=process.log.read_text
    )
    return time.monotonic() - began
