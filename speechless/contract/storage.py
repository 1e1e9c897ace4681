"""Where data and artifacts can be: the table of URI schemes. Pure: what a URI means, not what is there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote

from speechless.contract.model import Rule


class UriError(ValueError):
    """A URI that means no place: what is wrong with it, and what to write."""

    def __init__(self, uri: str, what: str, hint: str) -> None:
        """`what` goes on after the URI: `file://x is not an absolute path`."""
        super().__init__(f"{uri} {what}: {hint}")
        self.uri, self.what, self.hint = uri, what, hint


@dataclass(frozen=True)
class Scheme:
    """A kind of place. What guards something has no default: whoever adds a row has to decide it."""

    name: str
    """Before `://`."""
    text: str
    """What it is, in one line."""
    example: str
    """With `<...>` for what the user puts in."""
    pattern: str
    """A regular expression (RE2), anchored, for what a resource may say: the API server matches it."""
    may_write: bool
    """Whether an artifact that a pod publishes there is still there when the pod is gone."""
    administrator_only: bool
    """Whether resources may name it only where the administrator allows it: it reaches beyond the namespace."""
    needs_claim: bool
    """Whether the first part is a PersistentVolumeClaim of the namespace, which the pod mounts."""

    def check(self, uri: str) -> Place:
        """The place that a URI of this scheme means; UriError if it means none."""
        _, _, rest = uri.partition("://")
        if any(sign in rest for sign in "?#"):
            raise UriError(uri, "has a query or a fragment", "write the sign in a file's name as %3F or %23")
        host, slash, tail = rest.partition("/")
        # Percent-encoding is undone (RFC 3986). A file's name need not be UTF-8: Python keeps its bytes as surrogates.
        parts = [unquote(part, errors="surrogateescape") for part in tail.split("/") if part not in {"", "."}]
        if any(part == ".." or "/" in part or "\0" in part for part in parts):
            raise UriError(uri, "leads out of its place", "write the path without '..'")
        if self.needs_claim and not host:
            raise UriError(uri, "names no claim", f"write {self.example}")
        if not self.needs_claim and (host or not slash):
            raise UriError(uri, "is not an absolute path", f"write three slashes: {self.example}")
        return Place(uri, self, host, tuple(parts))


class Place(NamedTuple):
    """What a URI means."""

    uri: str
    scheme: Scheme
    host: str
    """The claim, where the scheme needs one; empty otherwise."""
    parts: tuple[str, ...]
    """The path below it: no part is empty, `.` or `..`, and none holds a slash."""


SCHEMES: dict[str, Scheme] = {
    row.name: row
    for row in (
        Scheme(
            name="pvc",
            text="a path on a claim of this namespace",
            example="pvc://<claim>/<path>",
            pattern=r"^pvc://[a-z0-9]([-.a-z0-9]*[a-z0-9])?/.+$",
            may_write=True,
            administrator_only=False,
            needs_claim=True,
        ),
        Scheme(
            name="file",
            text="a path in the image, where the operator allows it",
            example="file:///<path>",
            pattern=r"^file:///.+$",
            may_write=False,
            administrator_only=True,
            needs_claim=False,
        ),
    )
}


def scheme_of(uri: str) -> Scheme | None:
    """The row of a URI's scheme; None if there is none.

    >>> scheme_of("file:///models/tiny").administrator_only, scheme_of("ftp://x")
    (True, None)
    """
    return SCHEMES.get(uri.partition("://")[0]) if "://" in uri else None


def check(uri: str) -> Place:
    """The place that a URI means; UriError, which says what to write, if it means none.

    >>> check("pvc://models/base/tiny").parts
    ('base', 'tiny')
    """
    row = scheme_of(uri)
    if row is None:
        known = " and ".join(f"{name}://" for name in SCHEMES)
        raise UriError(uri, f"has the scheme '{uri.partition('://')[0]}'", f"this version knows {known}")
    return row.check(uri)


def claim_of(uri: str) -> str | None:
    """The claim that a URI is on; None for a place that needs no claim.

    >>> claim_of("pvc://models/base/tiny"), claim_of("file:///models/tiny")
    ('models', None)
    """
    row = scheme_of(uri)
    return uri.partition("://")[2].partition("/")[0] if row is not None and row.needs_claim else None


def examples(*, writable: bool = False) -> str:
    """The schemes for a message, each with its example."""
    rows = [row for row in SCHEMES.values() if row.may_write or not writable]
    return " or ".join(f"`{row.example}` ({row.text})" for row in rows)


def pattern() -> str:
    """A regular expression for every scheme's beginning: `^(pvc|file)://.+$`."""
    return f"^({'|'.join(re.escape(name) for name in SCHEMES)})://.+$"


def rule() -> Rule:
    """The rule for a URI in a resource (`self`), made from the rows' patterns."""
    any_of = " || ".join(f"self.matches('{row.pattern}')" for row in SCHEMES.values())
    return Rule(
        f"({any_of}) && !self.contains('/../') && !self.endsWith('/..')",
        f"must be {examples()}, without `..`",
    )
