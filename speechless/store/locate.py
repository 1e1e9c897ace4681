"""From a URI to a path: `file:///path`; `pvc://claim/path` and `image://reference/path` through their mounts.

Percent-encoding is undone (RFC 3986); nothing else is interpreted, and no URI leads out of what is mounted.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from speechless.contract import FailureReason, storage
from speechless.contract.storage import Mount
from speechless.errors import StageError


class Location(NamedTuple):
    """A place on this machine. `root` is what the place must not leave: the mount; None for file://."""

    uri: str
    path: Path
    root: Path | None
    mount: Mount = Mount.NOTHING


def locate(uri: str, mounts: Mapping[str, str]) -> Location:
    """The path that a URI of such a scheme means; StageError(INVALID_SPEC) if it means none."""
    try:
        place = storage.check(uri)
    except storage.UriError as error:
        raise _invalid(uri, error.what, error.hint) from None
    if place.scheme.mounts is Mount.NOTHING:
        return Location(uri, Path("/", *place.parts), None)
    if place.host not in mounts:
        known = ", ".join(sorted(mounts)) or "none"
        raise _invalid(
            uri, f"names the {place.scheme.mounts} '{place.host}', which is not mounted", f"mounted: {known}"
        )
    root = Path(mounts[place.host])
    return Location(uri, root.joinpath(*place.parts), root, place.scheme.mounts)


def check_inside(location: Location, path: Path) -> None:
    """Refuse a path that symbolic links lead out of the claim; a missing path is no reason."""
    if location.root is None:
        return
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(location.root)):
        raise StageError(
            FailureReason.INPUT_FORBIDDEN,
            f"{location.uri}: a symbolic link leads out of the {location.mount}",
            f"copy what the link means into the {location.mount}",
        )


def _invalid(uri: str, what: str, hint: str) -> StageError:
    return StageError(FailureReason.INVALID_SPEC, f"{uri} {what}", hint)
