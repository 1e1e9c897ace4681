"""A real server of Azure Blob Storage's protocol (Microsoft's Azurite) on the loopback, for as long as a block runs."""

from __future__ import annotations

import base64
import hashlib
import hmac
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

import requests

from tests.support import cluster as clusters
from tests.support.beside import running
from tests.support.ports import free_port

ACCOUNT = "tests"
KEY = base64.b64encode(b"not-a-secret").decode()
_FROM, _UNTIL, _VERSION = "2020-01-01T00:00:00Z", "2100-01-01T00:00:00Z", "2021-12-02"
_PROTOCOLS = "http,https"


@dataclass(frozen=True)
class Container:
    """A container and the objects in it, by requests of the test's own."""

    name: str
    url: str
    """The account's."""

    def make(self) -> Container:
        """Create it."""
        self._ask("PUT", "", {"restype": "container"})
        return self

    def put(self, key: str, content: bytes) -> None:
        self._ask("PUT", key, {}, content, {"x-ms-blob-type": "BlockBlob"})

    def get(self, key: str) -> bytes:
        return self._ask("GET", key, {}).content

    def remove(self, key: str) -> None:
        self._ask("DELETE", key, {})

    def keys(self, prefix: str = "") -> list[str]:
        told = self._ask("GET", "", {"restype": "container", "comp": "list", "prefix": prefix})
        return sorted(name.text or "" for name in ElementTree.fromstring(told.content).iter("Name"))

    def _ask(
        self,
        method: str,
        key: str,
        query: Mapping[str, str],
        content: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response:
        where = f"{self.url}/{self.name}{'/' if key else ''}{quote(key)}?{urlencode(query)}&{shared_access()}"
        answer = requests.request(method, where, data=content, headers=headers, timeout=30)
        answer.raise_for_status()
        return answer


@dataclass(frozen=True)
class Server:
    """A server, at its root; the account is the first part of each path."""

    endpoint: str
    log: Path

    def environment(self, endpoint: str | None = None) -> dict[str, str]:
        """What a client needs to reach it, at its own address or at a proxy's."""
        return {
            "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": KEY,
            "AZURE_STORAGE_ENDPOINT": f"{endpoint or self.endpoint}/{ACCOUNT}",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def bucket(self, name: str) -> Container:
        """Make a container."""
        return Container(name, f"{self.endpoint}/{ACCOUNT}").make()


def shared_access() -> str:
    """A signature for all of the account."""
    rights, scope = "rwdlac", {"ss": "b", "srt": "sco"}
    said = [ACCOUNT, rights, *scope.values(), _FROM, _UNTIL, "", _PROTOCOLS, _VERSION, "", ""]
    return _signed(said, rights, scope)


def container_access(name: str, rights: str = "racwdl") -> str:
    """A signature for one container that gives these rights, such as `rl` for reading alone."""
    said = [rights, _FROM, _UNTIL, f"/blob/{ACCOUNT}/{name}", "", "", _PROTOCOLS, _VERSION, "c", *[""] * 7]
    return _signed(said, rights, {"sr": "c"})


def _signed(said: list[str], rights: str, scope: dict[str, str]) -> str:
    signature = hmac.new(base64.b64decode(KEY), "\n".join(said).encode(), hashlib.sha256).digest()
    query = {"sp": rights, **scope, "st": _FROM, "se": _UNTIL, "spr": _PROTOCOLS, "sv": _VERSION}
    return urlencode({**query, "sig": base64.b64encode(signature).decode()})


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Serve what is in the folder `data` below `folder`."""
    data, log, port = folder / "data", folder / "azurite.log", free_port()
    data.mkdir(exist_ok=True)
    argv = ["env", f"AZURITE_ACCOUNTS={ACCOUNT}:{KEY}", str(clusters.program("azurite") / "azurite")]
    argv += ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(data)]
    argv += ["--silent", "--disableTelemetry"]

    def listens() -> bool:
        with socket.socket() as knock:
            return knock.connect_ex(("127.0.0.1", port)) == 0

    with running(argv, log, listens):
        yield Server(f"http://127.0.0.1:{port}", log)
