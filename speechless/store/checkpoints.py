"""Checkpoints in a folder of this machine, whole or not taken up.

transformers writes a checkpoint file by file, so a process that is killed leaves a folder that looks like one. A
checkpoint counts from the moment `complete.json` is in it: written last, synced, with every file's size.
"""

import json
import logging
import os
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

from speechless.store.base import Checkpoint

log = logging.getLogger(__name__)

MARKER = "complete.json"
_OTHER = "it is of other settings or other data"
_NAME = re.compile(r"checkpoint-(\d+)")


class FolderCheckpoints:
    """Implements `Checkpoints` where the run writes: saving is sealing."""

    def __init__(self, folder: Path) -> None:
        """Take the folder of `checkpoint-<step>`; it need not exist."""
        self.folder = folder

    def newest(self, fingerprint: str) -> Checkpoint | None:
        """Look at the sizes of the files; their content is not read."""
        for checkpoint in sorted(_all(self.folder), reverse=True):
            problem = _problem(checkpoint.path, fingerprint)
            if problem is None:
                return checkpoint
            log.warning("%s is not taken up: %s", checkpoint.path.name, problem)
        return None

    def take(self, step: int, fingerprint: str) -> Checkpoint | None:
        """As `newest`, for one step."""
        path = self.folder / f"checkpoint-{step}"
        return Checkpoint(step, path) if _problem(path, fingerprint) is None else None

    def save(self, step: int, fingerprint: str) -> None:
        """Sync the files, then write the marker."""
        seal(self.folder / f"checkpoint-{step}", fingerprint)

    def prune(self, keep: int, fingerprint: str, spared: Collection[int] = ()) -> None:
        """Remove whole ones of this run, and nothing else: what is not whole may be somebody's result.

        One of this run that was torn is written again when the run comes to its step.
        """
        whole = [one for one in sorted(_all(self.folder)) if _problem(one.path, fingerprint) is None]
        for checkpoint in whole[: max(0, len(whole) - keep)]:
            if checkpoint.step not in spared:
                shutil.rmtree(checkpoint.path)

    def clear(self) -> None:
        """Remove the folder."""
        if self.folder.exists():
            shutil.rmtree(
                self.folder,
                onerror=lambda _, name, error: log.warning("cannot remove %s: %s", name, error[1]),
            )


def seal(path: Path, fingerprint: str) -> None:
    """Declare a checkpoint whole: sync its files, then write the marker. `fingerprint` tells runs apart."""
    sizes = {}
    for file in sorted(path.rglob("*")):
        if file.is_file() and file.name != MARKER:
            sizes[file.relative_to(path).as_posix()] = file.stat().st_size
            _sync(file, os.O_RDONLY)
    marker, partial = path / MARKER, path / f"{MARKER}.partial"
    partial.write_text(json.dumps({"fingerprint": fingerprint, "files": sizes}, indent=1) + "\n")
    _sync(partial, os.O_RDONLY)
    partial.rename(marker)
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def _all(folder: Path) -> list[Checkpoint]:
    if not folder.is_dir():
        return []
    matches = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir() if path.is_dir())
    return [Checkpoint(int(match[1]), path) for match, path in matches if match]


def _problem(path: Path, fingerprint: str) -> str | None:
    """Why a checkpoint cannot be taken up; None if it can."""
    try:
        marker = (path / MARKER).read_bytes()
    except FileNotFoundError:
        marker = None
    files = (file for file in path.rglob("*") if file.is_file())
    sizes = {file.relative_to(path).as_posix(): file.stat().st_size for file in files}
    return marker_problem(marker, fingerprint, sizes)[0]


def marker_problem(
    marker: bytes | None, fingerprint: str, sizes: Mapping[str, int]
) -> tuple[str | None, dict[str, int]]:
    """Why a checkpoint with this marker and files of these sizes cannot be taken up, and the files that it names.

    None: it can be taken up.
    """
    if marker is None:
        return "it was not written to the end", {}
    try:
        told = json.loads(marker)
        other, files = told["fingerprint"], dict(told["files"])
    except (ValueError, KeyError, TypeError):
        return f"its {MARKER} cannot be read", {}
    if other != fingerprint:
        return _OTHER, files
    for name, size in files.items():
        if sizes.get(name) != size:
            return f"{name} is missing or has another size", files
    return None, files


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
