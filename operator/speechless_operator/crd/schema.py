"""Turn a pydantic model into a structural schema of Kubernetes.

Pydantic emits JSON Schema 2020-12; a CRD takes a subset of OpenAPI 3.0 (Kubernetes, "Specifying a structural schema").
Whatever has no equal there is a SchemaError that names the field, never a schema that means something else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from speechless.contract.model import CHOICES
from speechless_operator.api.base import IMMUTABLE, VALIDATIONS

Schema = dict[str, Any]

_NULL = {"type": "null"}
_COPIED = frozenset(
    {
        "type", "description", "enum", "default", "pattern", "minLength", "maxLength", "minItems", "maxItems",
        "minProperties", "maxProperties", "minimum", "maximum", "multipleOf", "format", VALIDATIONS,
        "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type",
        "x-kubernetes-int-or-string",
    }
)  # fmt: skip
_HANDLED = frozenset(
    {
        "$defs", "$ref", "title", "properties", "required", "items", "additionalProperties", "anyOf", "const",
        "exclusiveMinimum", "exclusiveMaximum", "uniqueItems", IMMUTABLE, CHOICES,
    }
)  # fmt: skip
_FORMATS = frozenset({"date-time", "int32", "int64", "double", "float", "byte"})
# RE2 (what the API server uses) has neither look-around nor back-references.
_NOT_RE2 = re.compile(r"\(\?[=!<]|\\[1-9]")
_WHY_NOT = {
    "prefixItems": "a tuple has no structural schema: use a model with named fields",
    "oneOf": "a union of shapes has no structural schema: use an enum and one optional field a shape",
    "allOf": "inherit from the model instead",
    "patternProperties": "use a dict and a CEL rule",
    "propertyNames": "keys cannot be constrained: use a CEL rule",
    "discriminator": "use an enum and one optional field a shape",
}


class SchemaError(Exception):
    """A model says something that a CRD cannot: the message has `Model.field.path: why, and what to do`."""


def structural_schema(model: type[BaseModel]) -> Schema:
    """The structural schema of a model.

    Raises:
        SchemaError: The model has a field that a CRD cannot express, or one without description or limits.
    """
    document = model.model_json_schema(by_alias=True)
    return _Converter(document.get("$defs", {})).convert(document, model.__name__, ())


class _Converter:
    def __init__(self, definitions: Mapping[str, Schema]) -> None:
        self._definitions = definitions

    def convert(self, node: Schema, path: str, above: tuple[str, ...]) -> Schema:
        """One node; `above` are the models around it."""
        node, above = self._inlined(node, path, above)
        node = _without_null(node, path)
        node, above = self._inlined(node, path, above)
        node = _int_or_string(node, path)
        for key in node:
            if key not in _COPIED | _HANDLED:
                raise SchemaError(
                    f"{path}: {key}: {_WHY_NOT.get(key, 'has no equal in a structural schema')}"
                )
        made = {key: value for key, value in node.items() if key in _COPIED}
        _rewrite_scalars(node, made, path)
        if CHOICES in node:
            told = " ".join(f"{name}: {text}" for name, text in node[CHOICES].items())
            made["description"] = f"{made.get('description', '')} {told}".strip()
        match made.get("type"):
            case "object":
                self._object(node, made, path, above)
            case "array":
                self._array(node, made, path, above)
            case "string":
                _string(made, path)
            case "integer" | "number" | "boolean":
                pass
            case None if made.get("x-kubernetes-int-or-string"):
                pass
            case other:
                raise SchemaError(f"{path}: type {other or 'Any'}: give it a type that a CRD can express")
        return made

    def _inlined(self, node: Schema, path: str, above: tuple[str, ...]) -> tuple[Schema, tuple[str, ...]]:
        """Put a referenced definition in place; what stands beside the reference wins."""
        while "$ref" in node:
            name = node["$ref"].rsplit("/", 1)[-1]
            if name in above:
                raise SchemaError(f"{path}: {name} contains itself: a CRD has no recursive types")
            beside = {key: value for key, value in node.items() if key != "$ref"}
            node, above = self._definitions[name] | beside, (*above, name)
        return node, above

    def _object(self, node: Schema, made: Schema, path: str, above: tuple[str, ...]) -> None:
        values = node.get("additionalProperties")
        if "properties" in node or values in (None, False):
            if "properties" not in node:
                raise SchemaError(f"{path}: an object without fields: name them")
            # `additionalProperties: false` is left out: pruning and strict validation do that.
            made["properties"] = {
                key: self._property(value, f"{path}.{key}", above)
                for key, value in node["properties"].items()
            }
            if node.get("required"):
                made["required"] = list(node["required"])
            made.setdefault(VALIDATIONS, [])
            made[VALIDATIONS] = [*made[VALIDATIONS], *_transition_rules(node, made, path)]
            if not made[VALIDATIONS]:
                del made[VALIDATIONS]
            if "default" in made:
                made["default"] = self._object_default(made, path)
            return
        if values is True or not isinstance(values, dict):
            raise SchemaError(f"{path}: any value at all: give the values a type")
        if "maxProperties" not in made:
            raise SchemaError(f"{path}: a dict needs Field(max_length=...): CEL's cost is estimated from it")
        made["additionalProperties"] = self.convert(values, f"{path}[]", above)
        made.pop("default", None)  # an empty dict and none at all are the same

    def _property(self, node: Schema, path: str, above: tuple[str, ...]) -> Schema:
        made = self.convert(node, path, above)
        if not made.get("description"):
            raise SchemaError(f"{path}: no description: write a docstring under the field")
        return made

    def _object_default(self, made: Schema, path: str) -> Schema:
        """`{}`: the API server fills in the fields' own defaults. Anything else would say them twice."""
        for key, value in made["default"].items():
            if value not in (None, [], {}) and made["properties"][key].get("default") != value:
                if isinstance(value, dict) and "default" in made["properties"][key]:
                    continue  # an object whose own default was checked when it was converted
                raise SchemaError(f"{path}.{key}: the default {value!r} must be the field's own")
        if made.get("required"):
            raise SchemaError(f"{path}: has a default, and required fields: {', '.join(made['required'])}")
        return {}

    def _array(self, node: Schema, made: Schema, path: str, above: tuple[str, ...]) -> None:
        if "items" not in node:
            raise SchemaError(f"{path}: a list of anything: give the items a type")
        made["items"] = self.convert(node["items"], f"{path}[]", above)
        if node.get("uniqueItems"):
            made["x-kubernetes-list-type"] = "set"
        if "maxItems" not in made:
            raise SchemaError(f"{path}: a list needs Field(max_length=...): CEL's cost is estimated from it")
        if "x-kubernetes-list-type" not in made:
            raise SchemaError(f"{path}: a list needs ListMap(key) or Atomic(): who owns its items?")
        for key in made.get("x-kubernetes-list-map-keys", []):
            item = made["items"]
            if key not in item.get("required", []) and "default" not in item.get("properties", {}).get(
                key, {}
            ):
                raise SchemaError(
                    f"{path}: the key {key} must be a required field of the items, or have a default"
                )
        if made.get("default") == []:
            del made["default"]


def _without_null(node: Schema, path: str) -> Schema:
    """`T | None` is an optional T: null is not a value here, and the default None is none at all."""
    branches = node.get("anyOf")
    if branches is None or _NULL not in branches:
        if "default" in node and node["default"] is None:
            raise SchemaError(f"{path}: the default is None, and the type does not say so: write `T | None`")
        return node
    others = [branch for branch in branches if branch != _NULL]
    rest = {key: value for key, value in node.items() if key != "anyOf"}
    if rest.get("default", ...) is None:
        del rest["default"]
    return rest | {"anyOf": others} if len(others) > 1 else others[0] | rest


def _int_or_string(node: Schema, path: str) -> Schema:
    branches = node.get("anyOf")
    if branches is None:
        return node
    if sorted(str(branch.get("type")) for branch in branches) != ["integer", "string"]:
        raise SchemaError(
            f"{path}: a union has no structural schema: use an enum and one optional field a shape"
        )
    rest = {key: value for key, value in node.items() if key != "anyOf"}
    return rest | {"x-kubernetes-int-or-string": True}


def _rewrite_scalars(node: Schema, made: Schema, path: str) -> None:
    """What OpenAPI 3.0 writes otherwise."""
    if "const" in node:
        made["enum"] = [node["const"]]
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if exclusive in node:
            made[bound], made[exclusive] = node[exclusive], True
    if "enum" in made and "type" not in made:
        raise SchemaError(f"{path}: an enum of several types")
    if made.get("format") is not None and made["format"] not in _FORMATS:
        raise SchemaError(f"{path}: format {made['format']} means something else, or nothing, to Kubernetes")


def _string(made: Schema, path: str) -> None:
    if "pattern" in made and _NOT_RE2.search(made["pattern"]):
        raise SchemaError(
            f"{path}: pattern {made['pattern']!r}: RE2 has no look-around and no back-references"
        )
    if "maxLength" not in made and "enum" not in made:
        raise SchemaError(f"{path}: a string needs a max_length: CEL's cost is estimated from it")


def _transition_rules(node: Schema, made: Schema, path: str) -> list[Schema]:
    """One rule a fixed field, on the object around it: a rule on the field would not see it come or go."""
    if IMMUTABLE not in node:
        return []
    free = node[IMMUTABLE]["free"]
    if unknown := set(free) - set(made["properties"]):
        raise SchemaError(f"{path}: may change, but is no field: {', '.join(sorted(unknown))}")
    found = []
    for name, field in made["properties"].items():
        if name in free:
            continue
        same = f"self.{name} == oldSelf.{name}"
        if name not in made.get("required", []) and "default" not in field:
            same = f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || {same})"
        found.append(
            {
                "rule": same,
                "message": f"{name} {node[IMMUTABLE]['message']}",
                "reason": "FieldValueForbidden",
                "fieldPath": f".{name}",
            }
        )
    return found
