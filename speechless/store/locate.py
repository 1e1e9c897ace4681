"""From a URI to a path: `file:///path`, and `pvc://claim/path` through the folder where the claim is mounted.

Percent-encoding is undone (RFC 3986); nothing else is interpreted, and no URI leads out of a claim.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from speechless.contract import FailureReason
from speechless.errors import StageError


class Location(NamedTuple):
    """A place on this machine. `root` is what the place must not leave: the claim's mount; None for file://."""

    uri: str
    path: Path
    root: Path | None


def locate(uri: str, mounts: Mapping[str, str]) -> Location:
    """The path that a `file://` or `pvc://` URI means; StageError(INVALID_SPEC) if it means none."""
    scheme, _, rest = uri.partition("://")
    if any(sign in rest for sign in "?#"):
        raise _invalid(uri, "has a query or a fragment", "write the sign in a file's name as %3F or %23")
    host, slash, tail = rest.partition("/")
    parts = [unquote(part, errors="strict") for part in tail.split("/") if part not in {"", "."}]
    if any(part == ".." or "/" in part or "\0" in part for part in parts):
        raise _invalid(uri, "leads out of its place", "write the path without '..'")
    if scheme == "file":
        if host or not slash:
            raise _invalid(uri, "is not an absolute path", "write three slashes: file:///path")
        return Location(uri, Path("/", *parts), None)
    if scheme == "pvc":
        if host not in mounts:
            known = ", ".join(sorted(mounts)) or "none"
            raise _invalid(uri, f"names the claim '{host}', which is not mounted", f"mounted claims: {known}")
        root = Path(mounts[host])
        return Location(uri, root.joinpath(*parts), root)
    raise _invalid(uri, f"has the scheme '{scheme}'", "this version knows file:// and pvc://")


def check_inside(location: Location, path: Path) -> None:
    """Refuse a path that symbolic links lead out of the claim; a missing path is no reason."""
    if location.root is None:
        return
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(location.root)):
        raise StageError(
            FailureReason.INPUT_FORBIDDEN,
            f"{location.uri}: a symbolic link leads out of the claim",
            "copy what the link means into the claim",
        )


def _invalid(uri: str, what: str, hint: str) -> StageError:
    return StageError(FailureReason.INVALID_SPEC, f"{uri} {what}", hint)
