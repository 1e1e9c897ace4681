"""What an artifact says of its making: versions, who made it, when, by which settings."""

import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from pydantic import JsonValue, ValidationError

from speechless import __version__
from speechless.contract import RunIdentity, StageName, StageSpec, decisive, unknown_fields


def parameters(spec: StageSpec) -> dict[str, JsonValue]:
    """What decides the result, with the defaults that were used, by the wire's names: what the manifest records."""
    return decisive(spec, defaults=True)


def difference(made_by: dict[str, JsonValue], spec: StageSpec) -> str | None:
    """The first setting in which an artifact's `parameters` and a spec differ; None if the same settings made it.

    Another version may have written the parameters: with other defaults written out, with what decides nothing, with
    less or with more. So they are read as a spec of this version, and what this version does not know is a difference.
    """
    try:
        made = type(spec).model_validate({**made_by, "stage": spec.stage, "output": "file:///"})
    except ValidationError as problem:
        return ".".join(map(str, problem.errors(include_url=False)[0]["loc"])) or "parameters"
    unknown = unknown_fields(made, made_by)
    return unknown[0] if unknown else first_difference(decisive(made), decisive(spec))


def first_difference(old: dict[str, JsonValue], new: dict[str, JsonValue]) -> str | None:
    """The first setting that the two do not share, such as `hyperparameters.seed`; None if they are the same."""
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) or isinstance(
            after, dict
        ):  # an object whose every field is unset is none
            before, after = before or {}, after or {}
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
