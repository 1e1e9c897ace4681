"""What an artifact says of its making: versions, who made it, when, by which settings."""

import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from pydantic import JsonValue

from speechless import __version__
from speechless.contract import RunIdentity, StageName, StageSpec

# Not settings of the work: whose run it is, and where on this machine things are.
_PLACES = {"version", "stage", "run", "mounts", "work_dir", "output"}


def parameters(spec: StageSpec) -> dict[str, JsonValue]:
    """The spec's settings by their names on the wire."""
    settings: dict[str, JsonValue] = spec.model_dump(
        mode="json", by_alias=True, exclude=_PLACES, exclude_none=True
    )
    return settings


def first_difference(old: dict[str, JsonValue], new: dict[str, JsonValue]) -> str | None:
    """The first setting that the two do not share, such as `hyperparameters.seed`; None if they are the same."""
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            inner = first_difference(before, after)
            if inner:
                return f"{name}.{inner}"
        elif before != after:
            return name
    return None


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of Python, Speechless and the packages that are installed."""
    found = {"python": platform.python_version(), "speechless": __version__}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def created_by(stage: StageName, run: RunIdentity) -> str:
    """Such as `finetune demo/tuned 1a2b3c4d`."""
    who = "/".join(part for part in (run.namespace, run.name) if part)
    return " ".join(part for part in (stage.value, who, run.uid[:8]) if part)


def now() -> str:
    """RFC 3339, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
