"""A real server of S3's protocol (versitygw over a folder) on the loopback, for as long as a block runs."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support import cluster as clusters
from tests.support.beside import running
from tests.support.ports import free_port

KEY, SECRET = "tests", "not-a-secret"


@dataclass(frozen=True)
class Server:
    """A server and the folder in which its buckets are folders."""

    endpoint: str
    folder: Path
    log: Path

    def environment(self, endpoint: str | None = None) -> dict[str, str]:
        """What a client needs to reach it, at its own address or at a proxy's."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": endpoint or self.endpoint,
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def bucket(self, name: str) -> Path:
        """Make a bucket; its folder."""
        made = self.folder / name
        made.mkdir()
        return made


@contextmanager
def serving(
    folder: Path, *flags: str, before: Sequence[str] = (), listen: str = "127.0.0.1"
) -> Iterator[Server]:
    """Serve the folder `data` below `folder`; `before`: what runs the program, such as `unshare`."""
    program = clusters.program("versitygw") / "versitygw"
    data = folder / "data"
    data.mkdir(exist_ok=True)
    port = free_port()
    argv = [*before, str(program), "--port", f"{listen}:{port}", "--quiet", *flags, "posix", str(data)]
    log = folder / "versitygw.log"

    def listens() -> bool:
        with socket.socket() as knock:
            return knock.connect_ex((listen, port)) == 0

    keys = {"ROOT_ACCESS_KEY_ID": KEY, "ROOT_SECRET_ACCESS_KEY": SECRET}
    with running(["env", *(f"{name}={value}" for name, value in keys.items()), *argv], log, listens):
        yield Server(f"http://{listen}:{port}", data, log)


def use(server: Server, endpoint: str | None = None) -> dict[str, str]:
    """An environment for a program that talks to it: this process's own, and what it needs."""
    return {**os.environ, **server.environment(endpoint)}
