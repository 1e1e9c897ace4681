"""Bringing files to this machine and away from it: several at once, hashed on the way, with bounded memory.

What is downloaded lies under a hidden name until it is whole, so a transfer that was torn is gone on with. The store
says how to read a range of a file; everything else is here.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from speechless.contract import FileEntry
from speechless.errors import StageError
from speechless.store.digest import Tick, hash_file, mismatch, no_tick
from speechless.store.parallel import FILES, Stopped, Watch, side_by_side
from speechless.store.problems import first_line

log = logging.getLogger(__name__)

PART = 8 << 20
"""Bytes that one request writes: 8 MiB."""
SEGMENT = 32 << 20
"""Bytes that one request reads, piece by piece: 32 MiB. What a kill costs is a segment for each request under way."""
PIECE = 64 << 10
"""Bytes of a piece, at least: 64 KiB. Larger ones cost more, as each is new memory from the system."""
AHEAD = 4
"""Requests of one file that are under way at a time."""

ReadRange = Callable[[int, int], Iterable[bytes]]
"""(offset, length): that many bytes, piece by piece, or an exception."""
Made = TypeVar("Made")


@dataclass(frozen=True)
class Download:
    """A file that is to be here."""

    name: str
    """In the artifact, with forward slashes."""
    size: int
    target: Path
    read: ReadRange
    passes: Callable[[Exception], bool] = lambda _: False
    """Whether an exception of `read` may pass: then the rest is asked for again."""
    version: str = ""
    """What changes when the file does, such as an ETag: a part of another version is not gone on with."""
    sha256: str | None = None
    """What it must be, where that is known."""
    md5: str | None = None
    """What it is likely to be: bytes that differ are read once more, and believed if they come again."""


def download(files: Sequence[Download], tick: Tick = no_tick) -> tuple[FileEntry, ...]:
    """Bring the files here; those that are here already are read instead, those begun are gone on with.

    StageError(DIGEST_MISMATCH) names a file whose bytes are not those asked for, after a second try.
    """
    with ThreadPoolExecutor(FILES * AHEAD, thread_name_prefix="read") as readers:
        entries = tuple(side_by_side(files, lambda file, watch: _bring(file, readers, watch), tick))
    for file in files:
        _came(file).unlink(missing_ok=True)
    return entries


def _bring(file: Download, readers: ThreadPoolExecutor, watch: Watch) -> FileEntry:
    wanted = file.sha256 or (_came(file).read_text() if _came(file).is_file() else "")
    if wanted and file.target.is_file() and file.target.stat().st_size == file.size:
        here = hash_file(file.target, file.name, watch.moved)
        if here.sha256 == wanted:
            return here
    file.target.parent.mkdir(parents=True, exist_ok=True)
    partial = _beside(file, "part")
    found = _stream(file, partial, readers, watch)
    if not _expected(file, found):
        log.warning("%s: other bytes came than expected: read once more", file.name)
        _forget(partial)
        again = _stream(file, partial, readers, watch)
        # An MD5 that is none (of a bucket that encrypts) is known by the same bytes coming again.
        if not _expected(file, again) and (file.sha256 or again[0] != found[0]):
            _forget(partial)
            wanted = f" instead of {file.sha256[:12]}..." if file.sha256 else " at first, then others"
            raise mismatch(f"{file.name}: sha256 {found[0][:12]}...{wanted}")
        found = again
    if not file.sha256:
        _came(file).write_text(found[0])
    partial.replace(file.target)
    _forget(partial)
    return FileEntry(path=file.name, size=file.size, sha256=found[0])


def _came(file: Download) -> Path:
    """The SHA-256 of what came of this version, where nobody told it: until all files are here, it is what counts."""
    return _beside(file, "sha256")


def _beside(file: Download, suffix: str) -> Path:
    mark = hashlib.sha256(file.version.encode()).hexdigest()[:12]
    return file.target.with_name(f".{file.target.name}.{mark}.{suffix}")


def _expected(file: Download, found: tuple[str, str | None]) -> bool:
    return found[0] == file.sha256 if file.sha256 else file.md5 is None or found[1] == file.md5


def _stream(
    file: Download, partial: Path, readers: ThreadPoolExecutor, watch: Watch
) -> tuple[str, str | None]:
    """Read what is missing of the partial file; the SHA-256 and, if it is asked for, the MD5 of all.

    Several segments come at a time, each to its place in the file. They are hashed in order, out of the page cache.
    """
    digest = hashlib.sha256()
    other = hashlib.md5(usedforsecurity=False) if file.md5 and not file.sha256 else None
    with _Segments(file, partial) as segments:
        under_way: dict[int, Future[None]] = {}
        missing = iter([index for index in range(segments.count) if index not in segments.whole])

        def ask() -> None:
            if (index := next(missing, None)) is not None:
                under_way[index] = readers.submit(segments.fetch, index, watch)

        for _ in range(AHEAD):
            ask()
        try:
            for index in range(segments.count):
                if index not in segments.whole:
                    under_way.pop(index).result()
                    ask()
                    count = 0  # they were counted as they came
                else:
                    count = 1
                for piece in segments.read(index):
                    digest.update(piece)
                    if other:
                        other.update(piece)
                    watch.moved(count * len(piece))
        finally:
            segments.stopped = True
            for future in under_way.values():
                future.cancel()
            wait(under_way.values())
    return digest.hexdigest(), other.hexdigest() if other else None


class _Segments:
    """A file that comes in segments, in any order, and a small file beside it that says which are whole."""

    def __init__(self, file: Download, partial: Path) -> None:
        self._file, self._partial = file, partial
        self.count = -(-file.size // SEGMENT)
        self.stopped = False
        """Whether what is under way is of no use any more."""

    def __enter__(self) -> _Segments:
        self._handle = os.open(self._partial, os.O_RDWR | os.O_CREAT, 0o666)
        if os.fstat(self._handle).st_size > self._file.size:
            os.ftruncate(self._handle, 0)
        self.whole = self._recorded()
        """Those that were whole at the beginning."""
        fresh = 0 if self.whole else os.O_TRUNC
        self._told = os.open(_record(self._partial), os.O_WRONLY | os.O_CREAT | os.O_APPEND | fresh, 0o666)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._told)
        os.close(self._handle)

    def _recorded(self) -> frozenset[int]:
        try:
            words = _record(self._partial).read_text().splitlines()
        except FileNotFoundError:
            return frozenset()
        here = os.fstat(self._handle).st_size
        numbers = {int(word) for word in words if word.isdigit()}
        # A record may outlive the file's bytes, where a machine broke down; the digest is compared in any case.
        return frozenset(index for index in numbers if index < self.count and here >= self._end(index))

    def _end(self, index: int) -> int:
        return min((index + 1) * SEGMENT, self._file.size)

    def fetch(self, index: int, watch: Watch) -> None:
        """Bring a segment to its place; what was cut is gone on with, where it may pass."""
        at, end = index * SEGMENT, self._end(index)

        def rest() -> None:
            nonlocal at
            for piece in self._file.read(at, end - at):
                if at + len(piece) > end:
                    raise OSError(f"{self._file.name}: more bytes came than were asked for")
                at += _write_at(self._handle, piece, at)
                watch.moved(len(piece))
                if self.stopped:
                    raise Stopped
            if at != end:
                raise OSError(f"{self._file.name}: {end - at} bytes did not come")

        patiently(rest, lambda error: not isinstance(error, Stopped) and self._file.passes(error))
        os.write(self._told, b"%d\n" % index)

    def read(self, index: int) -> Iterator[memoryview]:
        """The bytes of a segment that is here; each piece is gone when the next is asked for."""
        buffer = memoryview(bytearray(min(1 << 20, self._file.size)))
        at, end = index * SEGMENT, self._end(index)
        while at < end:
            count = os.preadv(self._handle, [buffer[: end - at]], at)
            if not count:
                raise OSError(f"{self._file.name}: {self._partial} was cut meanwhile")
            at += count
            yield buffer[:count]


def _record(partial: Path) -> Path:
    return partial.with_suffix(".whole")


def _forget(partial: Path) -> None:
    """Remove a file that is not whole, and its record."""
    partial.unlink(missing_ok=True)
    _record(partial).unlink(missing_ok=True)


def _write_at(handle: int, piece: bytes, at: int) -> int:
    view = memoryview(piece)
    while view:
        count = os.pwrite(handle, view, at)
        at += count
        view = view[count:]
    return len(piece)


@contextmanager
def hashed(path: Path, watch: Watch) -> Iterator[tuple[Iterator[bytes], Callable[[], str]]]:
    """A file's bytes in pieces, and a function for the SHA-256 of those that were taken."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:

        def pieces() -> Iterator[bytes]:
            while piece := file.read(PART):
                digest.update(piece)
                watch.moved(len(piece))
                yield piece

        yield pieces(), digest.hexdigest


def patiently(call: Callable[[], Made], passes: Callable[[Exception], bool], tries: int = 4) -> Made:
    """Call again, after a while that grows, what fails with an error that `passes`."""
    for attempt in range(tries):
        try:
            return call()
        except StageError:
            raise
        except Exception as error:
            if attempt + 1 == tries or not passes(error):
                raise
            log.info("once more, after %s", first_line(error))
            time.sleep(0.2 * 4**attempt)
    raise AssertionError("unreachable")


def inside(root: Path, name: str) -> Path:
    """Where a file of this name goes below a folder; ValueError for a name that leads out of it."""
    parts = name.split("/")
    if any(part in {"", ".", ".."} or "\0" in part for part in parts):
        raise ValueError(f"{name!r} leads out of the folder")
    return root.joinpath(*parts)
