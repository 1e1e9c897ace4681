"""The files of an artifact, their SHA-256, and whether they are those that a manifest names."""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from speechless.contract import MANIFEST_NAME, FailureReason, FileEntry, Manifest, tree_digest
from speechless.errors import StageError

CHUNK = 4 << 20
"""Bytes read at a time: 4 MiB."""

Tick = Callable[[int], None]
"""Called with the number of bytes just read or written; may raise to stop the work."""


def no_tick(_: int) -> None:
    """Nobody watches."""


def files_below(root: Path) -> Iterator[tuple[str, Path]]:
    """The regular files of a tree as (name with forward slashes, path), sorted by name as bytes.

    `root` may be a single file. The manifest at the root is left out. A symbolic link to a file inside the tree counts
    as that file; one that leads out of the tree or to a folder is refused, and so is a pipe, a socket or a device.
    """
    if not root.is_dir():
        if not stat.S_ISREG(root.stat().st_mode):
            raise _unfit(root, root.parent, "is not a regular file")
        yield root.name, root
        return
    real_root = os.path.realpath(root)
    found = []
    for folder, subfolders, names in os.walk(root, onerror=_raise):
        for name in subfolders:
            if Path(folder, name).is_symlink():
                raise _unfit(Path(folder, name), root, "is a symbolic link to a folder")
        for name in names:
            path = Path(folder, name)
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(real_root):
                raise _unfit(path, root, "is a symbolic link that leads out of the folder")
            if not stat.S_ISREG(path.stat().st_mode):
                raise _unfit(path, root, "is not a regular file")
            found.append((_name(path, root), path))
    yield from sorted((pair for pair in found if pair[0] != MANIFEST_NAME), key=lambda pair: pair[0].encode())


def hash_file(path: Path, name: str, tick: Tick = no_tick) -> FileEntry:
    """Read a file once: its size in bytes and its SHA-256."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
            tick(len(chunk))
    return FileEntry(path=name, size=size, sha256=digest.hexdigest())


def digest_tree(root: Path, tick: Tick = no_tick) -> tuple[str, tuple[FileEntry, ...]]:
    """The tree digest of a folder or a single file, and its files; for a source that has no manifest."""
    entries = tuple(hash_file(path, name, tick) for name, path in files_below(root))
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
    present = dict(files_below(root))
    for name in sorted(expected.keys() | present.keys(), key=str.encode):
        if name not in present:
            raise mismatch(f"{name}: the file is missing")
        if name not in expected:
            raise mismatch(f"{name}: the file is not part of the artifact")
        size = present[name].stat().st_size
        if size != expected[name].size:
            raise mismatch(f"{name}: {size} bytes instead of {expected[name].size}")
    for name, path in present.items():
        found = hash_file(path, name, tick).sha256
        if found != expected[name].sha256:
            raise mismatch(f"{name}: sha256 {found[:12]}... instead of {expected[name].sha256[:12]}...")


def mismatch(what: str) -> StageError:
    """The bytes are not those that were published or asked for."""
    hint = "the files changed after they were published; restore them, or make the artifact again"
    return StageError(FailureReason.DIGEST_MISMATCH, what, hint)


def _name(path: Path, root: Path) -> str:
    name = path.relative_to(root).as_posix()
    try:
        name.encode()
    except UnicodeEncodeError:
        raise _unfit(path, root, "has a name that is not UTF-8") from None
    if any(ord(sign) < 32 for sign in name):
        raise _unfit(path, root, "has a control character in its name")
    return name


def _unfit(path: Path, root: Path, what: str) -> StageError:
    shown = path.relative_to(root).as_posix().encode(errors="backslashreplace").decode()
    return StageError(
        FailureReason.INPUT_FORBIDDEN,
        f"{shown!r} {what}",
        "an artifact and a source hold regular files only; copy with links resolved (cp -rL)",
    )


def _raise(error: OSError) -> None:
    raise error
