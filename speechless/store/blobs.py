"""Files as blobs of a repository: put there, brought here. Each request is made again where it may pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import FileIO
from pathlib import Path
from typing import TypeVar

from speechless.contract import FailureReason, FileEntry
from speechless.errors import StageError
from speechless.store import transfer
from speechless.store.digest import Tick, fit_name, hash_file
from speechless.store.modelpack import Layer, digest_of
from speechless.store.parallel import Watch, side_by_side
from speechless.store.registry import Repository, passes

Made = TypeVar("Made")


def call(ask: Callable[[], Made]) -> Made:
    """Ask, and ask again what may pass."""
    return transfer.patiently(ask, passes)


def put_bytes(repository: Repository, content: bytes, *, anew: bool = False) -> None:
    """Put a small blob, unless it is there; `anew`: in any case."""
    digest = digest_of(content)
    if anew or not call(lambda: repository.holds(digest)):
        call(lambda: repository.put(digest, lambda: content))


def put_files(repository: Repository, files: Sequence[tuple[str, Path]], tick: Tick) -> tuple[FileEntry, ...]:
    """Put files, several at a time; what the registry has, of this attempt or of one before, is not sent again."""

    def one(file: tuple[str, Path], watch: Watch) -> FileEntry:
        name, path = file
        entry = hash_file(path, name, lambda _: watch.moved(0))
        digest = f"sha256:{entry.sha256}"
        if call(lambda: repository.holds(digest)):
            watch.moved(entry.size)
        else:
            call(lambda: repository.put(digest, lambda: _Watched(path, watch)))
        return entry

    return tuple(side_by_side(files, one, tick))


class _Watched(FileIO):
    """A file that is sent: its bytes are counted, and sending stops once nobody needs them any more."""

    def __init__(self, path: Path, watch: Watch) -> None:
        super().__init__(path)
        self._watch = watch

    def read(self, size: int | None = -1) -> bytes:
        """As asked for by http.client, a block at a time."""
        piece = super().read(size)
        self._watch.moved(len(piece))
        return piece


def download_of(repository: Repository, layer: Layer, into: Path) -> transfer.Download:
    """How a layer comes to its place below a folder; StageError for a name that leads out of it."""
    try:
        target = transfer.inside(into, fit_name(layer.name))
    except ValueError as error:
        raise StageError(
            FailureReason.INPUT_FORBIDDEN, str(error), "push it anew, with other names"
        ) from None
    return transfer.Download(
        name=layer.name,
        size=layer.size,
        target=target,
        read=lambda offset, length: repository.read(layer.digest, offset, length),
        passes=passes,
        version=layer.digest,
        sha256=layer.digest.removeprefix("sha256:"),
    )
