"""The store for paths of this machine: `file://`, `pvc://` and `image://`.

Reading copies nothing. Publishing writes a hidden sibling of the final folder, manifest last, every file synced, and
renames it; rename(2) of a folder is atomic and fails on one that is not empty, so a final name is whole or not there.
"""

import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from speechless.contract import (
    MANIFEST_NAME,
    FailureReason,
    FileEntry,
    Manifest,
    Source,
    storage,
    tree_digest,
)
from speechless.errors import StageError
from speechless.store.base import Access, LocalSource, ManifestFields, Opened, Published
from speechless.store.checkpoints import FolderCheckpoints
from speechless.store.digest import CHUNK, Tick, digest_tree, files_below, mismatch, no_tick, verify
from speechless.store.locate import Location, check_inside, locate
from speechless.store.manifest import read_manifest
from speechless.store.problems import naming, reading, writing

log = logging.getLogger(__name__)


class LocalStore:
    """Implements `Store` for what the machine has mounted."""

    def __init__(self, mounts: Mapping[str, str]) -> None:
        """Take the folders of what is mounted, by a claim's name or an image's reference."""
        self._mounts = mounts

    def open(self, source: Source, into: Path, *, tick: Tick = no_tick) -> Opened:
        """Verify a source where it lies; nothing is copied."""
        place = self._locate(source.uri)
        with reading(source.uri), naming(source.uri):
            manifest = read_manifest(place.path)
            if manifest:
                verify(place.path, manifest, tick)
                digest = manifest.digest
            else:
                digest, _ = digest_tree(place.path, tick)
            if source.digest and digest != source.digest:
                raise mismatch(f"the digest is {digest}, asked for is {source.digest}")
        return Opened(place.path, digest, manifest)

    def resolve(self, source: Source) -> LocalSource:
        """The path that it means, whether or not anything is there."""
        path = self._locate(source.uri).path
        return LocalSource(path, path.name, str(path), cached=False)

    def exists(self, uri: str) -> bool:
        """Whether the path is there."""
        place = self._locate(uri)
        with reading(uri):
            return place.path.exists()

    def find(self, uri: str, *, tick: Tick = no_tick) -> Published | None:
        """Verify what is published at `uri`."""
        place = self._locate(uri)
        with reading(uri), naming(uri):
            manifest = read_manifest(place.path)
            if manifest is None:
                _refuse_foreign(place)
                return None
            verify(place.path, manifest, tick)
        return Published.of(uri, manifest, reused=True)

    def prepare(self, uri: str) -> None:
        """Make the parent folder, and a file in it for a moment."""
        parent = self._locate(uri).path.parent
        with writing(uri):
            parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=parent):
                pass

    def publish(self, work: Path, uri: str, fields: ManifestFields, *, tick: Tick = no_tick) -> Published:
        """Copy, sync, rename, read again. Attempts at the same time take turns; the first one's artifact stays."""
        place = self._locate(uri)
        with writing(uri):
            place.path.parent.mkdir(parents=True, exist_ok=True)
            with _turn(place.path.parent) as alone:
                if found := self.find(uri, tick=tick):
                    return found
                if alone:
                    _remove_partials(place.path)
                partial = Path(tempfile.mkdtemp(prefix=_partial_prefix(place.path), dir=place.path.parent))
                try:
                    whole = _write(work, partial, fields, tick)
                    # mkdtemp lets nobody else in; other bits stay: a volume with fsGroup needs its setgid bit.
                    partial.chmod(partial.stat().st_mode | 0o055)
                    if not _rename(partial, place.path):
                        return self._found(uri, tick)
                finally:
                    # After a failure: what stays is removed by the next attempt, and the failure is what is told.
                    shutil.rmtree(partial, ignore_errors=True)
        self._read_again(place, whole, tick)
        return Published.of(uri, whole, reused=False)

    def checkpoints(self, uri: str, scratch: Path) -> FolderCheckpoints:
        """In `<the artifact's folder>.checkpoints`, where the run writes them at once."""
        path = self._locate(uri).path
        return FolderCheckpoints(path.with_name(path.name + ".checkpoints"))

    def _locate(self, uri: str) -> Location:
        place = locate(uri, self._mounts)
        check_inside(place, place.path)
        return place

    def _found(self, uri: str, tick: Tick) -> Published:
        """What another attempt put there while this one was writing."""
        found = self.find(uri, tick=tick)
        if found is None:
            raise StageError(
                FailureReason.STORE_UNAVAILABLE, f"{uri} came and went while publishing", "try again"
            )
        return found

    def _read_again(self, place: Location, manifest: Manifest, tick: Tick) -> None:
        """Verify what the store gives back; take it away if it is not what was written."""
        try:
            with reading(place.uri):
                verify(place.path, manifest, tick)
        except StageError as problem:
            if problem.reason is not FailureReason.DIGEST_MISMATCH:
                raise
            shutil.rmtree(place.path)
            what = f"{place.uri}: the store gave back other bytes than were written: {problem.message}"
            raise StageError(FailureReason.STORE_UNAVAILABLE, what, "check the volume's health") from problem


def connect(scheme: storage.Scheme, access: Access, settings: Mapping[str, str]) -> LocalStore:
    """The store of this machine's paths."""
    return LocalStore(access.mounts)


@contextmanager
def _turn(folder: Path) -> Iterator[bool]:
    """Wait for other publishers in the folder; False where the file system has no locks and nobody can wait."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            # NFS emulates flock by byte-range locks, which need a file opened for writing. The rename still decides.
            log.info("%s takes no locks (%s)", folder, error.strerror)
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def _refuse_foreign(place: Location) -> None:
    """Nothing of ours is ever half-written under its final name, so what is there without a manifest is a user's."""
    if not place.path.exists():
        return
    if not place.path.is_dir() or any(place.path.iterdir()):
        raise StageError(
            FailureReason.INVALID_SPEC,
            "the output exists and is not an artifact",
            "choose another output, or move away what is there",
        )


def _partial_prefix(target: Path) -> str:
    return f".{target.name}.partial-"


def _remove_partials(target: Path) -> None:
    """Remove what killed attempts left; only ever called while no other attempt can be writing."""
    for path in target.parent.iterdir():
        if path.name.startswith(_partial_prefix(target)):
            log.info("removing %s, left by an attempt that was killed", path.name)
            shutil.rmtree(path)


def _write(work: Path, partial: Path, fields: ManifestFields, tick: Tick) -> Manifest:
    """Copy the files and write the manifest after them, everything synced; return the manifest as written."""
    entries = tuple(_copy(path, partial / name, name, tick) for name, path in files_below(work))
    if not entries:
        raise ValueError(f"nothing to publish in {work}")
    whole = Manifest(files=entries, digest=tree_digest(entries), **fields)
    with (partial / MANIFEST_NAME).open("wb") as file:
        file.write(whole.to_json(indent=1).encode() + b"\n")
        _sync(file.fileno())
    for folder in sorted({partial, *(partial.joinpath(entry.path).parent for entry in entries)}):
        _sync_folder(folder)
    return whole


def _copy(source: Path, target: Path, name: str, tick: Tick) -> FileEntry:
    """Copy a file and hash what is copied in one pass."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with source.open("rb", buffering=0) as old, target.open("xb", buffering=0) as new:
        while chunk := old.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
            view = memoryview(chunk)
            while view:
                view = view[new.write(view) :]
            tick(len(chunk))
        _sync(new.fileno())
    return FileEntry(path=name, size=size, sha256=digest.hexdigest())


def _sync(handle: int) -> None:
    """Bring a file to the disk and out of the page cache, so that reading it again reads the disk."""
    os.fsync(handle)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _rename(partial: Path, target: Path) -> bool:
    """Give the folder its final name; False if another attempt's folder has it already."""
    try:
        partial.rename(target)
    except OSError:
        if (target / MANIFEST_NAME).exists():
            return False
        raise
    _sync_folder(target.parent)
    return True
