"""A server of Google Cloud Storage's JSON API (fake-gcs-server) behind a translator of ours from the XML API.

Not Google, and the translator is ours: `gs_xml.py` says what of it is whose.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import requests

from tests.support import cluster as clusters
from tests.support.beside import running
from tests.support.gs_xml import Translator
from tests.support.ports import free_port


@dataclass(frozen=True)
class Bucket:
    """A bucket and the objects in it, by the JSON API."""

    name: str
    url: str

    def make(self) -> Bucket:
        """Create it."""
        self._ask("POST", "/storage/v1/b?project=tests", json={"name": self.name})
        return self

    def put(self, key: str, content: bytes) -> None:
        where = f"/upload/storage/v1/b/{self.name}/o?uploadType=media&name={quote(key, '')}"
        self._ask("POST", where, data=content)

    def get(self, key: str) -> bytes:
        return self._ask("GET", f"{self._key(key)}?alt=media").content

    def remove(self, key: str) -> None:
        self._ask("DELETE", self._key(key))

    def keys(self, prefix: str = "") -> list[str]:
        told = self._ask("GET", f"/storage/v1/b/{self.name}/o?prefix={quote(prefix, '')}").json()
        return sorted(each["name"] for each in told.get("items", []))

    def _key(self, key: str) -> str:
        return f"/storage/v1/b/{self.name}/o/{quote(key, '')}"

    def _ask(self, method: str, where: str, **more: object) -> requests.Response:
        answer = requests.request(method, self.url + where, timeout=30, **more)  # type: ignore[arg-type]
        answer.raise_for_status()
        return answer


@dataclass(frozen=True)
class Server:
    """A server and the translator before it."""

    endpoint: str
    """The translator's."""
    behind: str
    log: Path

    def environment(self, endpoint: str | None = None) -> dict[str, str]:
        """What a client needs to reach it, at its own address or at a proxy's."""
        return {
            "STORAGE_EMULATOR_HOST": endpoint or self.endpoint,
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def bucket(self, name: str) -> Bucket:
        """Make a bucket."""
        return Bucket(name, self.behind).make()


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Serve the folder `data` below `folder`."""
    data, log, port = folder / "data", folder / "fake-gcs-server.log", free_port()
    program = clusters.program("fake-gcs-server") / "fake-gcs-server"
    argv = [
        program,
        "-scheme",
        "http",
        "-host",
        "127.0.0.1",
        "-port",
        port,
        "-public-host",
        f"127.0.0.1:{port}",
    ]
    argv += ["-backend", "filesystem", "-filesystem-root", data, "-log-level", "warn"]

    def listens() -> bool:
        with socket.socket() as knock:
            return knock.connect_ex(("127.0.0.1", port)) == 0

    with running([str(word) for word in argv], log, listens):
        behind = f"http://127.0.0.1:{port}"
        with Translator(behind) as translator:
            yield Server(translator.url, behind, log)
