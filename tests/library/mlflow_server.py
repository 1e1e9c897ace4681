"""MLflow's own tracking server, in a process of its own: `with serving(folder) as server`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_START = """
import sys
from mlflow.server import app
app.run(port=int(sys.argv[1]))
"""
_SECONDS = 100


def free_port() -> int:
    """One that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Server:
    """A server that can be stopped and started again, with its runs in files."""

    def __init__(self, folder: Path) -> None:
        """Take a folder for its runs."""
        self._folder, self._port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; returns when it answers."""
        environment = os.environ | {
            "MLFLOW_ALLOW_FILE_STORE": "true",
            "_MLFLOW_SERVER_FILE_STORE": (self._folder / "runs").as_uri(),
            "_MLFLOW_SERVER_ARTIFACT_ROOT": (self._folder / "artifacts").as_uri(),
        }
        environment.pop("MLFLOW_TRACKING_URI", None)
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, str(self._port)],
                cwd=self._folder,
                env=environment,
                stdout=log,
                stderr=log,
            )
        for _ in range(_SECONDS * 5):
            if self._process.poll() is not None:
                break
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=5).close()
                return
            except OSError:
                time.sleep(0.2)
        raise AssertionError((self._folder / "server.log").read_text()[-3000:])

    def stop(self) -> None:
        """End it at once."""
        if self._process:
            self._process.kill()
            self._process.wait()


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server that runs."""
    server = Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
