"""The cache of a machine: what commands brought from elsewhere, by its digest; read anew only when it changed there.

Every byte is hashed as it comes. When an entry is used, the size and the times of each file are compared with those
that it had then; where one differs, all is hashed again. So a use costs a `stat` a file, and bytes that a disk changed
by itself are found by `check` alone (docs/decisions.md, 31).
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from speechless.contract import FailureReason, ProgressPhase, Source
from speechless.environment import caches
from speechless.errors import StageError
from speechless.progress import showing
from speechless.store.base import Opened, RemoteSource, Store
from speechless.store.cache_folder import (
    FOLDER,
    SIZE,
    CacheFolder,
    gb,
    lock_of,
    read_record,
    size_of,
    stats_of,
    write_record,
)
from speechless.store.digest import Tick, no_tick
from speechless.store.locks import take

log = logging.getLogger(__name__)

LOOK = 0.2
"""Seconds between two looks whether another command has brought a source."""
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?", re.IGNORECASE)


def bytes_of(text: str) -> int:
    """A size such as `50GB`, `1.5T` or `20GiB`; ValueError for what is none.

    >>> bytes_of("50GB"), bytes_of("2 GiB")
    (50000000000, 2147483648)
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no size: write a number and a unit, such as 50GB or 20GiB")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** " KMGT".index(match[2].upper() or " "))


def machine_cache(server: str = "") -> Cache:
    """The cache that the environment names; StageError(INVALID_SPEC) for a size that is none.

    `server`: what else tells what a URI means (`settings.server_of`).
    """
    folder = Path(os.environ.get(FOLDER) or caches() / "sources").expanduser().absolute()
    told = os.environ.get(SIZE)
    try:
        return Cache(folder, bytes_of(told) if told else None, server)
    except ValueError as error:
        raise StageError(FailureReason.INVALID_SPEC, f"{SIZE}: {error}") from None


class Cache(CacheFolder):
    """Brings sources into its folder, each for one process at a time."""

    def bring(self, uri: str, found: RemoteSource, store: Store, tick: Tick | None = None) -> Path:
        """The folder or file of a source, brought here unless it is here; held until this process ends.

        `tick` is called with the bytes read, and may raise; None: they are shown. StageError as the store's `open`;
        STORE_FULL where it does not fit, STORE_UNAVAILABLE where it changes all the time.
        """
        with self._told():
            if path := self._here(uri, found):
                return path
            with self._alone(uri, tick or no_tick) as part:
                if path := self._here(uri, found):  # another command brought it meanwhile
                    return path
                with nullcontext(tick) if tick else _shown(uri, found.size, self.folder) as reading:
                    for _ in range(2):
                        self._reserve(uri, found, part)
                        source = Source(uri=uri, digest=found.digest)
                        opened = store.open(source, part / "in", tick=reading)
                        now = store.resolve(Source(uri=uri))
                        if now == found:
                            return self._keep(uri, found, opened, part)
                        if not isinstance(now, RemoteSource):
                            break
                        log.info("%s changed while it was read: once more", uri)
                        found = now
        what = f"{uri} changed while it was read"
        raise StageError(FailureReason.STORE_UNAVAILABLE, what, "try again when nobody writes there")

    def last(self, uri: str) -> Path | None:
        """What was at a URI when it was read last; None where it is not here any more."""
        with self._told():
            told = read_record(self._uri(uri))
            found = RemoteSource(told.get("state", ""), 0, told.get("digest"), told.get("file", ""))
            return self._here(uri, found) if found.digest else None

    def _here(self, uri: str, found: RemoteSource) -> Path | None:
        with self._locked():
            told = read_record(self._uri(uri))
        digest = found.digest or (told.get("digest") if told.get("state") == found.state else None)
        if digest is None or not self._found(uri, digest):
            return None
        with self._locked():
            self._record(uri, found, digest)
        log.info("%s: from the cache, %s", uri, digest)
        return self._entry(digest) / "content" / found.file

    # ----------------------------------------------------------------------------------------------------- bringing

    @contextmanager
    def _alone(self, uri: str, tick: Tick) -> Iterator[Path]:
        """The folder of a source's download, for one process at a time; it stays if the download does not end well."""
        part = self._partial(uri)
        part.parent.mkdir(parents=True, exist_ok=True)
        told = False
        while (handle := take(lock_of(part), wait=False)) is None:
            if not told:
                log.info("%s: another command is bringing it: waiting", uri)
            told = True
            tick(0)
            time.sleep(LOOK)
        try:
            yield part
            shutil.rmtree(part, ignore_errors=True)
        finally:
            if not part.exists():
                lock_of(part).unlink(missing_ok=True)
            os.close(handle)

    def _keep(self, uri: str, found: RemoteSource, opened: Opened, part: Path) -> Path:
        """Make an entry of what was brought. It is on the disk before it has its name."""
        for path in [opened.path] if opened.path.is_file() else opened.path.rglob("*"):
            if path.is_file():
                _seal(path)
        entry, made = self._entry(opened.digest), part / "entry"
        there = self._found(uri, opened.digest)  # the same bytes, from elsewhere
        with self._locked():
            if not there:
                shutil.rmtree(made, ignore_errors=True)
                content = made / "content"
                (made if opened.path.is_dir() else content).mkdir(parents=True)
                opened.path.rename(content if opened.path.is_dir() else content / opened.path.name)
                write_record(made / "entry.json", {"size": size_of(content), "files": stats_of(content)})
                entry.parent.mkdir(exist_ok=True)
                shutil.rmtree(entry, ignore_errors=True)  # what is there is none: it was not used above
                made.rename(entry)
                self._use(entry)
            self._record(uri, found, opened.digest)
        return entry / "content" / found.file


def _seal(file: Path) -> None:
    """Bring it to the disk; a program that would write into it by mistake is refused."""
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
        os.fchmod(handle, 0o444)
    finally:
        os.close(handle)


@contextmanager
def _shown(uri: str, size: int, folder: Path) -> Iterator[Tick]:
    with showing() as reporter:
        reporter.enter(ProgressPhase.FETCHING, f"{uri}: {gb(size)} to {folder}, in MB")
        done = 0

        def tick(count: int) -> None:
            nonlocal done
            done += count
            reporter.progress(min(done, size) // 1_000_000, size // 1_000_000)

        yield tick
