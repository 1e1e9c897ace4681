"""The files of an artifact, their SHA-256, and whether they are those that a manifest names."""

import hashlib
import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from speechless.contract import MANIFEST_NAME, FailureReason, FileEntry, Manifest, Source, tree_digest
from speechless.errors import StageError
from speechless.store.parallel import side_by_side

CHUNK = 4 << 20
"""Bytes read at a time: 4 MiB."""

_WHOLE = 64 << 20
"""Bytes up to which `sampled_digest` reads a file whole."""

NOT_CONTENT = frozenset({".git", ".cache", "lost+found"})
"""Folders that tools and file systems keep for themselves, wherever they stand: git's, the hub client's record of its
downloads with their times (`hf download --local-dir`), and what a file system check found."""

Tick = Callable[[int], None]
"""Called with the number of bytes just read or written; may raise to stop the work."""


def no_tick(_: int) -> None:
    """Nobody watches."""


def files_below(root: Path, *, everything: bool = False) -> Iterator[tuple[str, Path]]:
    """The regular files of a tree as (name with forward slashes, path), sorted by name as bytes.

    `root` may be a single file. The manifest at the root is left out, and so is what NOT_CONTENT names, unless
    `everything` is asked for. A symbolic link to a file inside the tree counts as that file, and so does one into the
    blobs of the hub cache that the tree is a snapshot of. One that leads elsewhere or to a folder is refused, and so is
    a pipe, a socket or a device.
    """
    if not root.is_dir():
        if not stat.S_ISREG(root.stat().st_mode):
            raise _unfit(root.name, "is not a regular file")
        yield root.name, root
        return
    inside = _roots(root)
    found = []
    for folder, subfolders, names in os.walk(root, onerror=_raise):
        if not everything:
            subfolders[:] = [name for name in subfolders if name not in NOT_CONTENT]
        for name in subfolders:
            if Path(folder, name).is_symlink():
                raise _unfit(
                    Path(folder, name).relative_to(root).as_posix(), "is a symbolic link to a folder"
                )
        for name in names:
            if name in NOT_CONTENT and not everything:
                continue
            path = Path(folder, name)
            if path.is_symlink() and not any(
                Path(os.path.realpath(path)).is_relative_to(place) for place in inside
            ):
                raise _unfit(
                    path.relative_to(root).as_posix(), "is a symbolic link that leads out of the folder"
                )
            if not stat.S_ISREG(path.stat().st_mode):
                raise _unfit(path.relative_to(root).as_posix(), "is not a regular file")
            found.append((fit_name(path.relative_to(root).as_posix()), path))
    yield from sorted((pair for pair in found if pair[0] != MANIFEST_NAME), key=lambda pair: pair[0].encode())


def _roots(root: Path) -> list[Path]:
    """Where links may lead: the tree, and in a hub cache (`models--x/snapshots/<commit>/...`) its own `blobs`."""
    real = Path(os.path.realpath(root))
    for folder in (real, *real.parents):
        cache = folder.parent.parent
        blobs = Path(os.path.realpath(cache / "blobs"))
        if folder.parent.name == "snapshots" and blobs.parent == cache and blobs.is_dir():
            return [real, blobs]
    return [real]


def sampled_digest(root: Path) -> str:
    """SHA-256, hexadecimal, that tells a model's files from another's without reading all of them.

    A file of up to 64 MiB is read whole; of a larger one its size, its first and last MiB, and 64 blocks of 64 KiB in
    between. Weights that were trained differ in every block; a change of a few bytes may escape.
    """
    told = hashlib.sha256()
    for name, path in files_below(root):
        size = path.stat().st_size
        told.update(f"{name}\0{size}\0".encode())
        with path.open("rb") as file:
            if size <= _WHOLE:
                told.update(hashlib.file_digest(file, "sha256").digest())
                continue
            places = [(0, 1 << 20), (size - (1 << 20), 1 << 20)]
            places += [(size * part // 65, 1 << 16) for part in range(1, 65)]
            for start, length in places:
                file.seek(start)
                told.update(file.read(length))
    return told.hexdigest()


def hash_file(path: Path, name: str, tick: Tick = no_tick) -> FileEntry:
    """Read a file once: its size in bytes and its SHA-256."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
            tick(len(chunk))
    return FileEntry(path=name, size=size, sha256=digest.hexdigest())


def hash_files(files: Iterable[tuple[str, Path]], tick: Tick = no_tick) -> tuple[FileEntry, ...]:
    """Size and SHA-256 of files (name, path), in their order; several are read at a time, `tick` is this thread's."""
    return tuple(side_by_side(files, lambda file, watch: hash_file(file[1], file[0], watch.moved), tick))


def digest_tree(root: Path, tick: Tick = no_tick) -> tuple[str, tuple[FileEntry, ...]]:
    """The tree digest of a folder or a single file, and its files; for a source that has no manifest."""
    entries = hash_files(files_below(root), tick)
    if not entries:
        raise StageError(
            FailureReason.INPUT_NOT_FOUND, f"{root.name}: the folder holds no file", "check the URI"
        )
    return tree_digest(entries), entries


def verify(root: Path, manifest: Manifest, tick: Tick = no_tick) -> None:
    """Compare a folder with its manifest: the digest, every file's size and SHA-256, no file more and none less.

    StageError(DIGEST_MISMATCH) names the first file that differs. Names and sizes are compared before any content is
    read, so that a truncated file of many gigabytes is found at once.
    """
    if tree_digest(manifest.files) != manifest.digest:
        raise mismatch(f"{MANIFEST_NAME}: its digest is not that of the files it lists")
    expected = {entry.path: entry for entry in manifest.files}
    # An artifact of a version that took everything for content names such files: then they belong to it.
    everything = any(not NOT_CONTENT.isdisjoint(name.split("/")) for name in expected)
    present = dict(files_below(root, everything=everything))
    for name in sorted(expected.keys() | present.keys(), key=str.encode):
        if name not in present:
            raise mismatch(f"{name}: the file is missing")
        if name not in expected:
            raise mismatch(f"{name}: the file is not part of the artifact")
        size = present[name].stat().st_size
        if size != expected[name].size:
            raise mismatch(f"{name}: {size} bytes instead of {expected[name].size}")
    for found in hash_files(present.items(), tick):
        wanted = expected[found.path].sha256
        if found.sha256 != wanted:
            raise mismatch(f"{found.path}: sha256 {found.sha256[:12]}... instead of {wanted[:12]}...")


def mismatch(what: str) -> StageError:
    """The bytes are not those that were published or asked for."""
    hint = "the files changed after they were published; restore them, or make the artifact again"
    return StageError(FailureReason.DIGEST_MISMATCH, what, hint)


def fit_name(name: str) -> str:
    """The name of a file in an artifact, if it can be one; StageError(INPUT_FORBIDDEN) otherwise."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise _unfit(name, "has a name that is not UTF-8") from None
    if any(ord(sign) < 32 for sign in name):
        raise _unfit(name, "has a control character in its name")
    return name


def remove_others(folder: Path, names: Collection[str]) -> None:
    """Remove what an earlier download left in a folder, that is not part of a source; the folder may be missing."""
    for name, path in list(files_below(folder, everything=True)) if folder.is_dir() else ():
        if name not in names:
            path.unlink()


def other_digest(source: Source, digest: str) -> StageError:
    """DIGEST_MISMATCH: the source has another digest than the one that was asked for."""
    return mismatch(f"{source.uri}: the digest is {digest}, asked for is {source.digest}")


def _unfit(name: str, what: str) -> StageError:
    shown = name.encode(errors="backslashreplace").decode()
    return StageError(
        FailureReason.INPUT_FORBIDDEN,
        f"{shown!r} {what}",
        "an artifact and a source hold regular files only; copy with links resolved (cp -rL)",
    )


def _raise(error: OSError) -> None:
    raise error
