"""A folder that is whole or not there: written beside its place and moved into it at the end."""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.store import locks

log = logging.getLogger(__name__)
PARTIAL = ".partial"
"""How the folder's name ends in which a result is written: as `result`, beside the lock of the process that writes."""
LOCK, RESULT = "lock", "result"
LAST = "config.json"
"""The file that makes a folder a model: it comes last where the files are moved one by one."""


def is_free(out: Path) -> bool:
    """Whether a result may go there: nothing, or a folder that is empty but for what a killed run left."""
    return not os.path.lexists(out) or (out.is_dir() and all(path.name == PARTIAL for path in out.iterdir()))


def leftovers(folder: Path) -> list[Path]:
    """What killed processes left of results that were to be written into a folder. What a process holds is none."""
    return [path for path in sorted(folder.glob(f".*{PARTIAL}")) if _is_left(path)]


def _is_left(path: Path) -> bool:
    """Whether it is one of ours, whose writer is gone."""
    if (
        path.is_symlink()
        or not (path / LOCK).is_file()
        or not {each.name for each in path.iterdir()} <= {LOCK, RESULT}
    ):
        return False
    try:
        handle = locks.take(path / LOCK, wait=False)
    except locks.LocksError:
        return False
    if handle is not None:
        os.close(handle)
    return handle is not None


@contextmanager
def whole(out: Path) -> Iterator[Path]:
    """A new folder to write into; it becomes `out` when the block ends well, and is removed when it does not.

    A folder that is not there yet appears at once, by a rename. In an empty one that is (the root of a volume cannot
    be renamed over), the files do, config.json last. What killed processes left beside it is removed first.
    StageError(INVALID_SPEC) if something is there already, or another process writes it.
    """
    if not is_free(out):
        raise StageError(
            FailureReason.INVALID_SPEC,
            f"{out}: it is not empty; nothing is overwritten",
            "name another folder",
        )
    place = Path(os.path.realpath(out))
    inside = place.exists()
    partial = place / PARTIAL if inside else place.with_name(f".{place.name}{PARTIAL}")
    for left in [] if inside else leftovers(place.parent):
        log.info("%s is removed: a process that was killed left it", left)
        shutil.rmtree(left, ignore_errors=True)
    handle = _hold(partial, out)
    result = partial / RESULT
    try:
        result.mkdir()
        yield result
        if not inside:
            os.replace(result, place)
            return
        for path in sorted(result.iterdir(), key=lambda path: path.name == LAST):
            os.replace(path, place / path.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if handle is not None:
            os.close(handle)


def _hold(partial: Path, out: Path) -> int | None:
    """Make the folder, or take what is left of it, and empty it; the handle of its lock, None where there are none."""
    partial.mkdir(parents=True, exist_ok=True)
    try:
        handle = locks.take(partial / LOCK, wait=False)
    except locks.LocksError:
        return None
    if handle is None:
        what = f"{out}: another process writes it"
        raise StageError(FailureReason.INVALID_SPEC, what, "wait for it, or name another folder")
    for path in partial.iterdir():
        if path.name == LOCK:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return handle
