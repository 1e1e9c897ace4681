"""What a store is told beside a URI: endpoint, region, who asks. From a Secret's files, or from the environment."""

from __future__ import annotations

import os
from pathlib import Path

from speechless.contract import FailureReason, storage
from speechless.errors import StageError
from speechless.store.base import Access

LARGEST = 1 << 20
"""Bytes of a Secret at most: Kubernetes' own limit."""


def settings_for(uri: str, scheme: storage.Scheme, access: Access, secret: str | None) -> dict[str, str]:
    """The settings of the scheme's row that are there, by name.

    Of those that say who asks, all come from the Secret where one is named: a key of one account and a token of another
    are never mixed. Others of the environment stay. StageError(INPUT_FORBIDDEN) if the Secret is not mounted or has
    none of the scheme's keys.
    """
    if secret is None:
        return {one.name: os.environ[one.name] for one in scheme.settings if os.environ.get(one.name)}
    told = _read(uri, scheme, access, secret)
    shared = {
        one.name: os.environ[one.name]
        for one in scheme.settings
        if os.environ.get(one.name) and not one.private
    }
    return shared | told


def server_of(scheme: storage.Scheme) -> str:
    """What tells a server from another one where the same URI means something else; of the environment."""
    told = [f"{one.name}={os.environ.get(one.name, '')}" for one in scheme.settings if not one.private]
    return "\n".join(told)


def _read(uri: str, scheme: storage.Scheme, access: Access, secret: str) -> dict[str, str]:
    keys = ", ".join(one.name for one in scheme.settings)
    if not keys:
        raise StageError(
            FailureReason.INVALID_SPEC, f"{uri}: {scheme.name}:// takes no Secret", "remove its secretRef"
        )
    folder = access.secrets.get(secret)
    if folder is None:
        known = ", ".join(sorted(access.secrets)) or "none"
        what = f"{uri}: the Secret '{secret}' is not mounted"
        raise StageError(FailureReason.INPUT_FORBIDDEN, what, f"mounted Secrets: {known}")
    found = {
        one.name: value for one in scheme.settings if (value := _value(Path(folder) / one.name)) is not None
    }
    if not found:
        what = f"{uri}: the Secret '{secret}' has none of the keys that {scheme.name}:// knows"
        raise StageError(FailureReason.INPUT_FORBIDDEN, what, f"give it the keys that are needed of {keys}")
    return found


def _value(file: Path) -> str | None:
    """A key's value without the line's end that `echo` and editors add; None where there is none."""
    try:
        with file.open("rb") as content:
            return content.read(LARGEST).decode().strip() or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        what = f"the key {file.name} of the Secret cannot be read: {error}"
        raise StageError(FailureReason.INPUT_FORBIDDEN, what, "a value is UTF-8 text") from error
