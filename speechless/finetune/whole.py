"""A folder that is whole or not there: written beside its place and moved into it at the end."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from speechless.contract import FailureReason
from speechless.errors import StageError

PARTIAL = ".partial"
LAST = "config.json"
"""The file that makes a folder a model: it comes last where the files are moved one by one."""


def is_free(out: Path) -> bool:
    """Whether a result may go there: nothing, or a folder that is empty but for what a killed run left."""
    return not os.path.lexists(out) or (out.is_dir() and all(path.name == PARTIAL for path in out.iterdir()))


@contextmanager
def whole(out: Path) -> Iterator[Path]:
    """A new folder to write into; it becomes `out` when the block ends well, and is removed when it does not.

    A folder that is not there yet appears at once, by a rename. In an empty one that is (the root of a volume cannot
    be renamed over), the files do, config.json last. What a killed run left (`.NAME.partial`) is removed first.
    StageError(INVALID_SPEC) if something is there already.
    """
    if not is_free(out):
        raise StageError(
            FailureReason.INVALID_SPEC,
            f"{out}: it is not empty; nothing is overwritten",
            "name another folder",
        )
    place = Path(os.path.realpath(out))
    partial = place / PARTIAL if place.exists() else place.with_name(f".{place.name}{PARTIAL}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if partial.parent != place:
            os.replace(partial, place)
            return
        for path in sorted(partial.iterdir(), key=lambda path: path.name == LAST):
            os.replace(path, place / path.name)
        partial.rmdir()
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
