"""Resources and values of the chart against their schemas, whole or in part."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jsonschema
import yaml

from tests.unit.layout.repository import ROOT

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The CRDs are long: PyYAML's own parser takes seconds for them."""
GROUP = "speechless.dev"
METADATA = {"type": "object"}


@cache
def definitions() -> tuple[dict[str, Any], ...]:
    """The CRDs of crds/."""
    return tuple(yaml.load(path.read_text(), LOADER) for path in sorted((ROOT / "crds").glob("*.yaml")))


@cache
def names() -> dict[str, str]:
    """Every word by which kubectl takes one of our kinds, in small letters, to the kind."""
    found: dict[str, str] = {}
    for definition in definitions():
        called = definition["spec"]["names"]
        words = [called["kind"].lower(), called["singular"], called["plural"], *called["shortNames"]]
        found |= dict.fromkeys(words, called["kind"])
        found |= {f"{word}.{GROUP}": called["kind"] for word in (called["singular"], called["plural"])}
    return found


@cache
def schema_of(kind: str) -> dict[str, Any]:
    """The schema of a whole resource of one of our kinds."""
    (spec,) = (d["spec"] for d in definitions() if d["spec"]["names"]["kind"] == kind)
    schema: dict[str, Any] = spec["versions"][0]["schema"]["openAPIV3Schema"]
    return schema | {"properties": schema["properties"] | {"metadata": METADATA}}


@cache
def values_schema() -> dict[str, Any]:
    """The schema of the chart's values."""
    return dict(json.loads((ROOT / "charts" / "speechless" / "values.schema.json").read_text()))


def at(schema: dict[str, Any], path: list[str | int]) -> dict[str, Any] | None:
    """The schema of what is at a path; None where nothing can be. `{}` takes anything."""
    here = schema
    for step in path:
        here = resolved(here)
        properties = here.get("properties", {})
        if isinstance(step, int) or step == "*":
            if here.get("type") != "array" and "array" not in here.get("type", []):
                return None
            here = here.get("items", {})
        elif step in properties:
            here = properties[step]
        elif isinstance(here.get("additionalProperties"), dict):
            here = here["additionalProperties"]
        elif _open(here):
            return {}
        else:
            return None
    return resolved(here)


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema that a `$ref` within the chart's names, or itself."""
    if "$ref" not in schema:
        return schema
    return dict(values_schema()["$defs"][schema["$ref"].rpartition("/")[2]])


def _open(schema: dict[str, Any]) -> bool:
    """Whether an object may have any field."""
    return schema.get("x-kubernetes-preserve-unknown-fields") is True or (
        schema.get("type") == "object" and "properties" not in schema
    )


def resource_problem(resource: dict[str, Any]) -> str:
    """What is wrong with a resource of ours; rules in CEL are for the API server."""
    known = {d["spec"]["names"]["kind"] for d in definitions()}
    if resource.get("kind") not in known:
        return f"kind {resource.get('kind')} is none of {', '.join(sorted(known))}"
    return _problem(resource, _closed(schema_of(resource["kind"])), jsonschema.Draft4Validator)


def part_problem(part: dict[str, Any], kind: str) -> str:
    """What is wrong with a part of a resource: any field may be left out."""
    return _problem(part, _without_required(_closed(schema_of(kind))), jsonschema.Draft4Validator)


def values_problem(values: dict[str, Any]) -> str:
    """What is wrong with some values of the chart."""
    return _problem(values, _without_required(values_schema()), jsonschema.Draft202012Validator)


def _problem(value: object, schema: dict[str, Any], validator: Any) -> str:
    errors = list(validator(schema).iter_errors(value))
    # A name that is not known says more than the one that is missing for it.
    unknown = [each for each in errors if each.validator == "additionalProperties"]
    error = unknown[0] if unknown else jsonschema.exceptions.best_match(errors)
    if error is None:
        return ""
    where = ".".join(str(step) for step in error.absolute_path)
    return f"{where}: {error.message}" if where else str(error.message)


def _closed(schema: Any) -> Any:
    """The schema with unknown fields refused, as kubectl's strict validation does."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: _closed(each) for name, each in schema.items()}
    if isinstance(schema.get("properties"), dict) and "type" in schema and not _open(schema):
        made.setdefault("additionalProperties", False)
    if made.pop("x-kubernetes-int-or-string", False):
        made["type"] = ["integer", "string"]
    return made


def _without_required(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_required(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: _without_required(each)
        for name, each in schema.items()
        if not (name == "required" and isinstance(each, list))
    }
