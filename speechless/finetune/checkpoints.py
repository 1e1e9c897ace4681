"""Checkpoints that are whole or not taken up.

transformers writes a checkpoint file by file, so a process that is killed leaves a folder that looks like one. A
checkpoint counts from the moment `complete.json` is in it: written last, synced, with every file's size.
"""

import json
import logging
import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

log = logging.getLogger(__name__)

MARKER = "complete.json"
_OTHER = "it is of other settings or other data"
_NAME = re.compile(r"checkpoint-(\d+)")


class Checkpoint(NamedTuple):
    """A folder `checkpoint-<step>`."""

    step: int
    path: Path


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


def newest(folder: Path, fingerprint: str) -> Checkpoint | None:
    """The highest whole checkpoint of this run in the folder; why others are passed over is logged."""
    for checkpoint in sorted(_all(folder), reverse=True):
        problem = _problem(checkpoint.path, fingerprint)
        if problem is None:
            return checkpoint
        log.warning("%s is not taken up: %s", checkpoint.path.name, problem)
    return None


def of_another_run(folder: Path, fingerprint: str) -> Checkpoint | None:
    """A checkpoint in the folder that was written to the end by a run of other settings or other data, if any."""
    return next((one for one in sorted(_all(folder)) if _problem(one.path, fingerprint) == _OTHER), None)


def prune(folder: Path, keep: int, fingerprint: str) -> None:
    """Remove all but the newest `keep` whole checkpoints, and every one that is not whole or of another run.

    Only called once a newer whole one is there: at every moment the newest whole checkpoint stays.
    """
    whole = 0
    for checkpoint in sorted(_all(folder), reverse=True):
        if _problem(checkpoint.path, fingerprint) is None and whole < keep:
            whole += 1
        else:
            shutil.rmtree(checkpoint.path)


def _all(folder: Path) -> list[Checkpoint]:
    if not folder.is_dir():
        return []
    matches = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir() if path.is_dir())
    return [Checkpoint(int(match[1]), path) for match, path in matches if match]


def _problem(path: Path, fingerprint: str) -> str | None:
    """Why a checkpoint cannot be taken up; None if it can."""
    try:
        marker = json.loads((path / MARKER).read_text())
        other, sizes = marker["fingerprint"], dict(marker["files"])
    except FileNotFoundError:
        return "it was not written to the end"
    except (ValueError, KeyError, TypeError):
        return f"its {MARKER} cannot be read"
    if other != fingerprint:
        return _OTHER
    for name, size in sizes.items():
        file = path / name
        if not file.is_file() or file.stat().st_size != size:
            return f"{name} is missing or has another size"
    return None


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
