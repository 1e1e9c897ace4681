"""The folder of a cache: what is in it, what is in use, and what goes when there is no room.

<folder>/lock               held while the folder changes, for moments
         entries/<digest>/  content/..., entry.json, lock (shared by who reads it; its time is that of the last use)
         uris/<hash>.json   what was at a URI when it was read last: its state there, and the digest of its bytes
         partial/<hash>/    a download: in/..., wanted.json; <hash>.lock beside it is held by who brings it
         removed/...        what is being deleted
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from speechless.contract import FailureReason
from speechless.errors import StageError, words_of
from speechless.store.base import RemoteSource
from speechless.store.digest import Tick, digest_tree, no_tick
from speechless.store.locks import holds, take

log = logging.getLogger(__name__)

FOLDER = "SPEECHLESS_CACHE_DIR"
"""Variable: where the cache is, instead of `sources` in this project's folder of caches."""
SIZE = "SPEECHLESS_CACHE_SIZE"
"""Variable: how much it holds at most, such as 50GB."""
SHARE = 2
"""Without it: this part of the disk (a half)."""
_used: dict[Path, int] = {}
"""Entries that this process uses: a handle each, by which they are held until it ends."""


class Entry(NamedTuple):
    """What `list` tells of an entry."""

    digest: str
    size: int
    used: float
    """The time of the last use, in seconds since 1970."""
    uris: tuple[str, ...]
    """Where it was read."""
    in_use: bool
    """Whether a command has it open now."""


class _Freed(NamedTuple):
    """What could be removed."""

    size: int
    remove: Callable[[Path], bool]
    path: Path


@dataclass(frozen=True)
class CacheFolder:
    """A folder that several processes may use at once."""

    folder: Path
    size: int | None = None
    """Bytes that it holds at most; None: a share of the disk."""
    server: str = ""
    """Where URIs are asked for; the same one means something else at another server."""

    def limit(self) -> int:
        """Bytes that it holds at most."""
        return self.size if self.size is not None else shutil.disk_usage(_there(self.folder)).total // SHARE

    def entries(self) -> list[Entry]:
        """What it holds, the last used first."""
        with self._told(), self._locked():
            return self._listed()

    def clear(self, uris: Sequence[str] = ()) -> list[Entry]:
        """Remove entries that nobody uses, of these URIs or all, and what torn downloads left; those removed."""
        with self._told(), self._locked():
            gone = []
            for entry in self._listed():
                if uris and not set(uris) & set(entry.uris):
                    continue
                if self._remove(self._entry(entry.digest)):
                    gone.append(entry)
            for part in self._partials(None):
                if not uris or read_record(part / "wanted.json").get("uri") in uris:
                    self._remove_partial(part)
            self._sweep()
            self._forget_uris()
            return gone

    def check(self, tick: Tick = no_tick) -> list[Entry]:
        """Hash every entry, and remove those whose bytes are others; those removed."""
        gone = []
        for entry in self.entries():
            path = self._entry(entry.digest)
            with self._told():
                with self._locked():
                    there = self._use(path)
                if there and not _digests_to(path / "content", entry.digest, tick):
                    self._discard(path)
                    gone.append(entry)
        return gone

    def _listed(self) -> list[Entry]:
        uris: dict[str, list[str]] = {}
        for file in sorted(self._below("uris")):
            told = read_record(file)
            uris.setdefault(str(told.get("digest")), []).append(str(told.get("uri")))
        found = []
        for entry in self._entries():
            digest = f"sha256:{entry.name}"
            known = tuple(sorted(uris.get(digest, [])))
            in_use = entry in _used or _is_taken(entry / "lock")
            found.append(Entry(digest, told_size(entry / "entry.json"), _last_use(entry), known, in_use))
        return sorted(found, key=lambda each: -each.used)

    def _free(self, mine: Path) -> list[_Freed]:
        """What nobody uses, that of the longest ago first: entries, and what torn downloads left."""
        aged = [
            (_last_use(entry), _Freed(told_size(entry / "entry.json"), self._remove, entry))
            for entry in self._entries()
            if entry not in _used and not _is_taken(entry / "lock")
        ]
        aged += [
            (part.stat().st_mtime, _Freed(size_of(part), self._remove_partial, part))
            for part in self._partials(mine)
            if not _is_taken(lock_of(part))
        ]
        return [freed for _, freed in sorted(aged, key=lambda each: each[0])]

    def _remove(self, entry: Path) -> bool:
        """Remove an entry, unless somebody uses it."""
        if entry in _used or (handle := take(entry / "lock", wait=False)) is None:
            return False
        try:
            log.info("removing sha256:%s from the cache", entry.name)
            self._put_away(entry)
        finally:
            os.close(handle)
        return True

    def _remove_partial(self, part: Path) -> bool:
        """Remove what a download left, unless it goes on."""
        if (handle := take(lock_of(part), wait=False)) is None:
            return False
        try:
            self._put_away(part)
            lock_of(part).unlink(missing_ok=True)
        finally:
            os.close(handle)
        return True

    def _discard(self, entry: Path) -> None:
        """Take away an entry of this process that is damaged, also if others use it."""
        with self._locked():
            handle = _used.pop(entry)
            if holds(handle, entry / "lock"):  # else another process did, and it may be there anew
                self._put_away(entry, now=False)
            os.close(handle)
            self._sweep()

    def _put_away(self, path: Path, *, now: bool = True) -> None:
        """Take a folder out of its place at once, and delete it; a kill in between leaves it for `_sweep`."""
        bin = self.folder / "removed"
        bin.mkdir(exist_ok=True)
        moved = path.rename(bin / f"{path.name}-{uuid.uuid4().hex[:8]}")
        if now:
            shutil.rmtree(moved)

    def _sweep(self) -> None:
        """Delete what was put away and is used no more."""
        for path in self._below("removed"):
            handle = take(path / "lock", wait=False)
            if handle is not None:
                shutil.rmtree(path)
                os.close(handle)

    def _forget_uris(self) -> None:
        for file in self._below("uris"):
            digest = str(read_record(file).get("digest"))
            if not self._entry(digest).is_dir():
                file.unlink()

    # ------------------------------------------------------------------------------------------- use and room

    def _use(self, entry: Path) -> bool:
        """Hold an entry until this process ends; called with the lock of the cache."""
        if not (entry / "entry.json").is_file():
            return False
        lock, held = entry / "lock", _used.get(entry)
        # What this process holds may have been damaged, and brought again by another one.
        if held is None or not holds(held, lock):
            handle = take(lock, shared=True, wait=False)
            assert handle is not None  # who takes it for itself has the cache's lock meanwhile
            _used[entry] = handle
            if held is not None:
                os.close(held)
        os.utime(lock)
        return True

    def _found(self, uri: str, digest: str) -> bool:
        """Whether there is an entry, with its bytes; it is held then. A damaged one is taken away."""
        entry = self._entry(digest)
        with self._locked():
            there = self._use(entry)
        if there and not self._is_whole(entry, digest):
            log.warning("%s: its copy in %s was changed: it is read anew", uri, self.folder)
            self._discard(entry)
            return False
        return there

    def _is_whole(self, entry: Path, digest: str) -> bool:
        told, content = read_record(entry / "entry.json"), entry / "content"
        now = stats_of(content)
        if told.get("files") == now:
            return True
        try:
            if digest_tree(content)[0] != digest:
                return False
        except (StageError, OSError):
            return False
        with self._locked():
            write_record(entry / "entry.json", {**told, "files": now})
        return True

    def _reserve(self, uri: str, found: RemoteSource, part: Path) -> None:
        """Make room for a source, by removing what was not used for the longest time; what is in use stays."""
        with self._locked():
            self._sweep()
            part.mkdir(exist_ok=True)
            here, free = size_of(part), self._free(part)
            while (short := self._short(found.size, here, part)) > 0:
                # Nothing goes where all together would not do.
                if short > sum(freed.size for freed in free) or not free:
                    (part / "wanted.json").unlink(missing_ok=True)
                    raise self._full(uri, found.size, short)
                oldest = free.pop(0)
                oldest.remove(oldest.path)
            self._forget_uris()
            write_record(part / "wanted.json", {"uri": uri, "size": found.size})

    def _short(self, size: int, here: int, part: Path) -> int:
        """Bytes that are missing for a source of this size, of which `here` are on the disk."""
        held = sum(told_size(entry / "entry.json") for entry in self._entries())
        for other in self._partials(part):
            coming = told_size(other / "wanted.json") if _is_taken(lock_of(other)) else 0
            held += max(coming, size_of(other))
        free = shutil.disk_usage(self.folder).free
        return max(held + size - self.limit(), size - here - free)

    def _full(self, uri: str, size: int, short: int) -> StageError:
        free = shutil.disk_usage(self.folder).free
        what = f"{uri}: {gb(size)} do not fit into {self.folder}: {gb(short)} too much, with {gb(free)} free and "
        what += f"{gb(self.limit())} allowed; nothing more can be removed"
        hint = f"raise {SIZE}, name another folder by {FOLDER}, or copy it: speechless store fetch"
        return StageError(FailureReason.STORE_FULL, what, hint)

    # ------------------------------------------------------------------------------------------------------- places

    def _entry(self, digest: str) -> Path:
        return self.folder / "entries" / digest.removeprefix("sha256:")

    def _uri(self, uri: str) -> Path:
        return self.folder / "uris" / f"{self._name(uri)}.json"

    def _partial(self, uri: str) -> Path:
        return self.folder / "partial" / self._name(uri)

    def _name(self, uri: str) -> str:
        return hashlib.sha256(f"{self.server}\n{uri}".encode()).hexdigest()[:32]

    def _record(self, uri: str, found: RemoteSource, digest: str) -> None:
        told = {"uri": uri, "state": found.state, "digest": digest, "file": found.file}
        if read_record(self._uri(uri)) != told:
            self._uri(uri).parent.mkdir(exist_ok=True)
            write_record(self._uri(uri), told)

    def _below(self, name: str) -> list[Path]:
        folder = self.folder / name
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def _entries(self) -> list[Path]:
        return [entry for entry in self._below("entries") if (entry / "entry.json").is_file()]

    def _partials(self, mine: Path | None) -> list[Path]:
        return [part for part in self._below("partial") if part.is_dir() and part != mine]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        handle = take(self.folder / "lock")
        assert handle is not None
        try:
            yield
        finally:
            os.close(handle)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What the system says of the cache's own files, as a StageError."""
        try:
            yield
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            reason = FailureReason.STORE_FULL if full else FailureReason.INPUT_FORBIDDEN
            what = f"the cache of sources cannot be used: {words_of(error)}"
            hint = f"{'free some space, or ' if full else ''}name another folder by {FOLDER}"
            raise StageError(reason, what, hint) from error


def gb(size: int) -> str:
    """Bytes as a person reads them."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.2f} MB"


def _there(folder: Path) -> Path:
    return next(each for each in (folder, *folder.parents) if each.exists())


def stats_of(content: Path) -> dict[str, list[int]]:
    """Of each file its size and the times of its last change, of content and of the rest (which nobody can set)."""
    found = {}
    for path in sorted(content.rglob("*")):
        stat = path.lstat()
        if not path.is_dir():
            found[path.relative_to(content).as_posix()] = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
    return found


def _digests_to(content: Path, digest: str, tick: Tick) -> bool:
    try:
        return digest_tree(content, tick)[0] == digest
    except (StageError, OSError) as problem:
        log.warning("%s: %s", content, problem)
        return False


def lock_of(part: Path) -> Path:
    """The lock of who fills a folder of `partial`."""
    return part.with_name(f"{part.name}.lock")


def _is_taken(lock: Path) -> bool:
    if (handle := take(lock, wait=False)) is None:
        return True
    os.close(handle)
    return False


def _last_use(entry: Path) -> float:
    """In seconds since 1970; of one that its maker could not even use, when it was made."""
    lock = entry / "lock"
    return (lock if lock.exists() else entry / "entry.json").stat().st_mtime


def size_of(folder: Path) -> int:
    """Bytes of the files below a folder, some of which may just be going."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size if not path.is_dir() else 0
        except FileNotFoundError:
            continue
    return total


def told_size(file: Path) -> int:
    """The size that a record tells; 0 if it tells none."""
    size = read_record(file).get("size", 0)
    return size if isinstance(size, int) else 0


def read_record(file: Path) -> dict[str, Any]:
    """A record; one that is missing or broken says nothing."""
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def write_record(file: Path, told: dict[str, Any]) -> None:
    """Write a record, whole or not at all."""
    partial = file.with_name(f".{file.name}.part")
    partial.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, file)
