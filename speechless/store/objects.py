"""The objects of a bucket: what is listed, read, put and removed there. No artifact, no manifest.

Each call is made again where the client gave up, after tries of its own, on what may pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from speechless.contract import FailureReason, FileEntry
from speechless.errors import StageError
from speechless.store import transfer
from speechless.store.digest import NOT_CONTENT, fit_name, mismatch
from speechless.store.manifest import LARGEST
from speechless.store.parallel import Watch
from speechless.store.problems import passes

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

MOST_PARTS = 9_000
"""Of one object's upload; a store takes 10,000. So a part is longer than `transfer.PART` where an object is huge."""
Made = TypeVar("Made")


@dataclass(frozen=True)
class Stored:
    """An object of the bucket."""

    name: str
    """Below the place it was listed for."""
    key: str
    size: int
    etag: str
    """Its version; where the store names none, when it was written."""


@dataclass(frozen=True)
class Place:
    """A key, or what lies below it, in a bucket that can be asked."""

    uri: str
    client: ObjectStore
    key: str

    def beside(self, suffix: str) -> Place:
        """The place with something more in its name, such as `.checkpoints`."""
        return Place(self.uri + suffix, self.client, self.key + suffix)

    def below(self, name: str) -> str:
        """The key of a file in it."""
        return f"{self.key}/{name}" if self.key else name


def call(ask: Callable[[], Made]) -> Made:
    """Ask, and ask again where the client gave up after its own tries on what may pass."""
    return transfer.patiently(ask, passes)


def head(place: Place) -> Stored | None:
    """The object that has this very key."""
    import obstore

    if not place.key:
        return None
    try:
        found = call(lambda: obstore.head(place.client, place.key))
    except FileNotFoundError:
        return None
    return Stored(place.key.rpartition("/")[2], place.key, found["size"], _version(found))


def any_below(place: Place) -> bool:
    """Whether anything lies below a key."""
    import obstore

    return any(
        call(lambda: next(iter(obstore.list(place.client, prefix=place.key or None, chunk_size=1)), []))
    )


def below(place: Place) -> dict[str, Stored]:
    """What lies below a key, by its name there, sorted by name as bytes; folders that tools keep are left out."""
    import obstore

    found = {}
    for chunk in call(lambda: list(obstore.list(place.client, prefix=place.key or None, chunk_size=1000))):
        for entry in chunk:
            name = entry["path"].removeprefix(place.key).lstrip("/")
            # A key that ends in a slash is how consoles show an empty folder.
            if not name or entry["path"].endswith("/") or not NOT_CONTENT.isdisjoint(name.split("/")):
                continue
            fit_name(name)
            found[name] = Stored(name, entry["path"], entry["size"], _version(entry))
    return dict(sorted(found.items(), key=lambda pair: pair[0].encode()))


def _version(meta: ObjectMeta) -> str:
    return _bare(meta["e_tag"]) or str(meta["last_modified"])


def _bare(etag: str | None) -> str:
    """An ETag without its quotes: Azure's lists have none, its other answers do."""
    return (etag or "").strip('"')


def read_small(place: Place, key: str, most: int) -> bytes | None:
    """A small object whole; None where there is none."""
    import obstore

    def ask() -> bytes:
        found = obstore.get(place.client, key)
        if found.meta["size"] > most:
            raise mismatch(f"{key.rpartition('/')[2]} is larger than {most >> 20} MiB")
        return bytes(found.bytes())

    try:
        return call(ask)
    except FileNotFoundError:
        return None


_MD5 = re.compile(r"[0-9a-f]{32}")


def download_of(place: Place, found: Stored, target: Path, expected: FileEntry | None) -> transfer.Download:
    """How an object comes to `target`; `expected`: what the manifest says of it."""
    import obstore

    def read(offset: int, length: int) -> Iterator[bytes]:
        answer = obstore.get(place.client, found.key, options={"range": (offset, offset + length)})
        return answer.stream(min_chunk_size=transfer.PIECE)

    md5 = _MD5.fullmatch(found.etag)
    return transfer.Download(
        name=found.name,
        size=found.size,
        target=target,
        read=read,
        passes=passes,
        version=f"{place.uri} {found.etag} {found.size}",
        sha256=expected.sha256 if expected else None,
        md5=md5[0] if md5 else None,
    )


def inside(uri: str, into: Path, name: str) -> Path:
    """Where an object of this name goes below a folder; StageError for a name that leads out of it."""
    try:
        return transfer.inside(into, name)
    except ValueError as error:
        hint = "rename the object"
        raise StageError(FailureReason.INPUT_FORBIDDEN, f"{uri}: {error}", hint) from None


def put_bytes(place: Place, key: str, content: bytes) -> str:
    """Put a small object; the version that the store gave it."""
    import obstore

    return _bare(obstore.put(place.client, key, content, use_multipart=False)["e_tag"])


def create(place: Place, key: str, content: bytes) -> bool:
    """Put an object unless there is one; False if there is."""
    import obstore
    from obstore.exceptions import AlreadyExistsError, PreconditionError

    try:
        call(lambda: obstore.put(place.client, key, content, mode="create"))
    except (AlreadyExistsError, PreconditionError):
        # Also after an answer that was lost on the way: then it is this very content.
        return read_small(place, key, LARGEST) == content
    return True


def put_file(place: Place, key: str, path: Path, name: str, watch: Watch) -> tuple[FileEntry, str]:
    """Upload a file, hashed as it is read; its entry, and the version that the store gave it."""
    import obstore

    part = max(transfer.PART, path.stat().st_size // MOST_PARTS + 1)

    def put() -> tuple[FileEntry, str]:
        size = path.stat().st_size
        with transfer.hashed(path, watch) as (pieces, digest):
            if size <= transfer.PART:
                etag = put_bytes(place, key, b"".join(pieces))
            else:
                answer = obstore.put(
                    place.client, key, pieces, chunk_size=part, max_concurrency=transfer.AHEAD
                )
                etag = _bare(answer["e_tag"])
        return FileEntry(path=name, size=size, sha256=digest()), etag

    return call(put)


def delete(place: Place, keys: Sequence[str]) -> None:
    """Remove objects; those that are gone already are no error."""
    import obstore

    if not keys:
        return
    try:
        obstore.delete(place.client, list(keys))
    except FileNotFoundError:
        # Azure and Google say so, and what stood behind that key in the list may not have been asked for.
        for key in keys:
            with suppress(FileNotFoundError):
                obstore.delete(place.client, key)
