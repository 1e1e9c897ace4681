"""The servers that stand for kinds of buckets, a row a scheme: how one is started, and what a test must know of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.support import azurite, gcs, s3


class Bucket(Protocol):
    """A bucket and the objects in it, by another client than the project's."""

    @property
    def name(self) -> str: ...

    def put(self, key: str, content: bytes) -> None: ...

    def get(self, key: str) -> bytes: ...

    def remove(self, key: str) -> None: ...

    def keys(self, prefix: str = "") -> list[str]:
        """Those that begin so, sorted."""


class Server(Protocol):
    """A server of buckets on the loopback."""

    @property
    def endpoint(self) -> str:
        """Its root, for a proxy."""

    def environment(self, endpoint: str | None = None) -> dict[str, str]:
        """What a client needs to reach it, at its own address or at a proxy's."""

    def bucket(self, name: str) -> Bucket:
        """Make one."""


@dataclass(frozen=True)
class Row:
    """A kind of bucket."""

    scheme: str
    serving: Callable[[Path], AbstractContextManager[Server]]
    """A server that keeps everything below a folder, for as long as a block runs."""
    checks: bool
    """Whether it refuses a body that changed on its way."""
    keys: str = ""
    """What the credentials are made of, as a message names it; empty: the server takes any."""
    wrong: tuple[str, str] = ("", "")
    """A variable of them, and a value that the server refuses."""
    other: Mapping[str, str] = field(default_factory=dict)
    """Credentials of somebody else, as another program's variables have them: a Secret shuts them out."""


@dataclass(frozen=True)
class Folder:
    """A bucket that is a folder."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    def put(self, key: str, content: bytes) -> None:
        file = self.path / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)  # the server keeps an ETag as an attribute of the file
        file.write_bytes(content)

    def get(self, key: str) -> bytes:
        return (self.path / key).read_bytes()

    def remove(self, key: str) -> None:
        (self.path / key).unlink()

    def keys(self, prefix: str = "") -> list[str]:
        names = (path.relative_to(self.path).as_posix() for path in self.path.rglob("*") if path.is_file())
        return sorted(name for name in names if name.startswith(prefix))


@dataclass(frozen=True)
class _S3:
    server: s3.Server

    @property
    def endpoint(self) -> str:
        return self.server.endpoint

    def environment(self, endpoint: str | None = None) -> dict[str, str]:
        return self.server.environment(endpoint)

    def bucket(self, name: str) -> Bucket:
        return Folder(self.server.bucket(name))


@contextmanager
def _s3(folder: Path) -> Iterator[Server]:
    with s3.serving(folder) as server:
        yield _S3(server)


ROWS = {
    row.scheme: row
    for row in (
        Row(
            scheme="s3",
            serving=_s3,
            wrong=("AWS_SECRET_ACCESS_KEY", "wrong"),
            keys="AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY",
            other={"AWS_ACCESS_KEY_ID": "somebody-else", "AWS_SESSION_TOKEN": "of-somebody-else"},
            checks=True,
        ),
        Row(
            scheme="az",
            serving=azurite.serving,
            wrong=("AZURE_STORAGE_ACCOUNT_KEY", "d3Jvbmc="),
            keys="AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY",
            other={
                "AZURE_STORAGE_ACCOUNT_NAME": "somebody-else",
                "AZURE_STORAGE_TOKEN": "of-somebody-else",
                "AZURE_STORAGE_SAS_TOKEN": "sv=1&sig=of-somebody-else",
                "AZURE_SKIP_SIGNATURE": "true",
                "AZURE_STORAGE_USE_EMULATOR": "true",
                "AZURE_CREDENTIAL_TYPE": "bearer_token",
            },
            checks=False,
        ),
        Row(scheme="gs", serving=gcs.serving, checks=False),
    )
}
