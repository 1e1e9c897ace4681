"""Every field of a spec, each with two values, from the schema: what is different in the children, and where."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from speechless.contract import StageResult
from speechless_operator.api import API_VERSION, KINDS
from speechless_operator.crd import structural_schema
from speechless_operator.desired.objects import Object
from tests.unit.operator.world import World

WORDS = (
    ("pvc://models/a", "pvc://other/b"),
    ("sha256:" + "a" * 64, "sha256:" + "b" * 64),
    ("/data/a", "/data/b"),
    ("Exists", "Equal"),
    ("NoSchedule", "NoExecute"),
    ("ab", "ac"),
)
"""The first pair that a field's pattern takes."""


def leaves(schema: Object, above: str = "") -> Iterator[tuple[str, Object]]:
    """Every field that holds a value, with the schema of it: `dataset.uri`, `suites.0.k`."""
    for name, node in schema.get("properties", {}).items():
        path = f"{above}{name}"
        if "properties" in node:
            yield from leaves(node, f"{path}.")
        elif node.get("type") == "array" and "properties" in node["items"]:
            yield from leaves(node["items"], f"{path}.0.")
        else:
            yield path, node


@cache
def schema_of(kind: str) -> Object:
    """The schema of a kind's spec."""
    return structural_schema(KINDS[kind].spec)


@cache
def fields(kind: str) -> dict[str, Object]:
    """Every field of a kind's spec."""
    return dict(leaves(schema_of(kind)))


def values(node: Object) -> tuple[Any, Any]:
    """Two values that a field takes; the same twice where there is but one."""
    kind = (
        "enum" if "enum" in node else "quantity" if node.get("x-kubernetes-int-or-string") else node["type"]
    )
    return _VALUES.get(kind, _words)(node)


def _numbers(node: Object) -> tuple[Any, Any]:
    least = node.get("minimum", 0)
    step = 0.25 if node["type"] == "number" and node.get("maximum", 9) - least < 3 else 1
    return least + step, least + 2 * step


def _words(node: Object) -> tuple[Any, Any]:
    return next(pair for pair in WORDS if all(re.search(node.get("pattern", ""), word) for word in pair))


def _each(make: Callable[[Any], Any], node: Object) -> tuple[Any, Any]:
    first, second = values(node)
    return make(first), make(second)


_VALUES: dict[str, Callable[[Object], tuple[Any, Any]]] = {
    "enum": lambda node: (node["enum"][0], node["enum"][-1]),
    "quantity": lambda _: ("1Gi", "2Gi"),
    "boolean": lambda _: (False, True),
    "integer": _numbers,
    "number": _numbers,
    "array": lambda node: _each(lambda value: [value], node["items"]),
    "object": lambda node: _each(lambda value: {"example.org/a": value}, node["additionalProperties"]),
}


def put(spec: Any, path: str, value: Any) -> None:
    """Set the value at a path; objects and lists that are not there are made."""
    name, _, rest = path.partition(".")
    key: Any = int(name) if name.isdigit() else name
    if not rest:
        spec[key] = value
        return
    made: Any = [{}] if rest.partition(".")[0].isdigit() else {}
    if isinstance(spec, dict):
        spec.setdefault(key, made)
    put(spec[key], rest, value)


def complete(schema: Object, spec: Any) -> None:
    """Give every object that is there the fields that it must have."""
    if "items" in schema:
        for item in spec:
            complete(schema["items"], item)
        return
    if "properties" not in schema:
        return
    for name in schema.get("required", []):
        node = schema["properties"][name]
        if name not in spec:
            empty: Any = {} if "properties" in node else [{}]
            holds_objects = "properties" in node or "properties" in node.get("items", {})
            spec[name] = empty if holds_objects else values(node)[0]
    for name, inner in spec.items():
        complete(schema["properties"][name], inner)


def with_field(kind: str, base: Object, path: str, value: Any) -> Object:
    """A spec with a field set, and what the objects around it must have."""
    made = copy.deepcopy(base)
    put(made, path, value)
    complete(schema_of(kind), made)
    return made


def outcome(kind: str, spec: Object, result: StageResult | None = None) -> dict[str, Any]:
    """What a resource becomes, as path to value: of the stage's spec, of children, of its conditions, of its plan.

    With a result, once its run has ended with it.
    """
    world = World()
    world.put(
        {
            "apiVersion": API_VERSION,
            "kind": kind,
            "metadata": {"name": "x"},
            "spec": copy.deepcopy(spec),
        }
    )
    world.settle()
    if result is not None:
        world.succeed(kind, "x", result)
        world.settle()
    found: dict[str, Any] = {}
    for (child, _), obj in world.objects.items():
        if child == "ConfigMap":
            _flatten("stage", json.loads(obj["data"]["stage.json"]), found)
        elif child == kind:
            for condition in obj["status"]["conditions"]:
                found[f"status/{condition['type']}"] = re.sub(
                    r"\b[0-9a-f]{10}\b", "...", condition["message"]
                )
            found["plan/requeueAfter"] = world.plan(kind, "x").requeue_after
        else:
            _flatten(child, {key: obj[key] for key in ("metadata", "spec") if key in obj}, found)
    return found


def _flatten(path: str, value: Any, into: dict[str, Any]) -> None:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            _flatten(f"{path}/{key}", inner, into)
    elif isinstance(value, list) and value:
        for number, inner in enumerate(value):
            _flatten(f"{path}/{number}", inner, into)
    else:
        into[path] = value


_DERIVED = re.compile(
    r"^(stage/run/|stage/output$|.*/metadata/name$|.*/volumes/0/configMap/name$|.*speechless\.dev/|Service/)"
)
"""Names and hashes: they follow from what decides the result, and are not the place where a field arrives."""


def arrivals(kind: str, before: Object, after: Object, result: StageResult | None = None) -> list[str]:
    """Where two specs make a difference, in order."""
    one, two = outcome(kind, before, result), outcome(kind, after, result)
    differ = sorted(path for path in one.keys() | two.keys() if one.get(path, ...) != two.get(path, ...))
    return [path for path in differ if not _DERIVED.search(path)]
