"""A copy of a task directory as one file: a zip that is stored, not compressed, because weights do not shrink."""

from __future__ import annotations

import os
import stat
import time
import zipfile
from pathlib import Path

_EARLIEST = (1980, 1, 1, 0, 0, 0)


def backup(folder: Path, now: float | None = None) -> Path:
    """Write `../<folder>-loras.<YYYYmmdd-HHMMSS>.zip`, in local time, and give its path. Links are kept as links.

    It gets its name when it is whole. FileExistsError if there is one of this second.
    """
    when = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
    target = folder.parent / f"{folder.name}-loras.{when}.zip"
    if target.exists():
        raise FileExistsError(17, "there is a backup of this second already", str(target))
    partial = target.with_name(f".{target.name}.partial")
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
            for path in sorted(_below(folder)):
                _add(archive, path, str(path.relative_to(folder.parent)))
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def _below(folder: Path) -> list[Path]:
    """Files, links and folders; a link is not followed."""
    found = []
    for place, folders, files in os.walk(folder):
        found += [Path(place, name) for name in (*folders, *files)]
    return found


def _add(archive: zipfile.ZipFile, path: Path, name: str) -> None:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        info = zipfile.ZipInfo(name, max(time.localtime(status.st_mtime)[:6], _EARLIEST))
        info.create_system = 3  # Unix, whose mode the upper half of external_attr is
        info.external_attr = status.st_mode << 16
        archive.writestr(info, os.readlink(path))
    elif stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode):
        archive.write(path, name)
