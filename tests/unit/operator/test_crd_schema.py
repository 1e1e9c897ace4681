"""From pydantic to structural schemas: every difference between the two, and every refusal."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, StringConstraints

from speechless_operator.api.base import ApiModel, Atomic, Cel, Immutable, ListMap, rules
from speechless_operator.crd import SchemaError, all_crds, structural_schema

Text = Annotated[str, StringConstraints(max_length=8)]


class Colour(StrEnum):
    """Two colours."""

    RED = "Red"
    BLUE = "Blue"


class Part(ApiModel):
    """A part."""

    name: Text
    """Its name."""
    size: int = 1
    """Its size."""


class Sized(ApiModel):
    """Something with a size."""

    size: int = 1
    """Its size."""


def schema_of(field_type: Any, default: Any = ...) -> Any:
    """The schema of a model's one field."""
    made = type(
        "M",
        (ApiModel,),
        {"__annotations__": {"a_field": field_type}, "a_field": Field(default, description="d")},
    )
    return structural_schema(made)["properties"]["aField"]


@pytest.mark.parametrize(
    ("field_type", "default", "expected"),
    [
        (Text, ..., {"type": "string", "maxLength": 8}),
        (Text | None, None, {"type": "string", "maxLength": 8}),
        (int, 3, {"type": "integer", "default": 3}),
        (bool, False, {"type": "boolean", "default": False}),
        (Colour, Colour.RED, {"type": "string", "enum": ["Red", "Blue"], "default": "Red"}),
        (Literal["v1"], "v1", {"type": "string", "enum": ["v1"], "default": "v1"}),
        (
            Annotated[float, Field(gt=0, lt=1)],
            ...,
            {
                "type": "number",
                "minimum": 0,
                "exclusiveMinimum": True,
                "maximum": 1,
                "exclusiveMaximum": True,
            },
        ),
        (Annotated[float, Field(ge=0)] | None, None, {"type": "number", "minimum": 0}),
        (int | str, ..., {"x-kubernetes-int-or-string": True}),
        (
            Annotated[set[Text], Field(max_length=2)],
            ...,
            {
                "type": "array",
                "items": {"type": "string", "maxLength": 8},
                "maxItems": 2,
                "x-kubernetes-list-type": "set",
            },
        ),
        (
            Annotated[list[Text], Atomic(), Field(max_length=2)],
            [],
            {
                "type": "array",
                "items": {"type": "string", "maxLength": 8},
                "maxItems": 2,
                "x-kubernetes-list-type": "atomic",
            },
        ),
        (
            Annotated[dict[str, Text], Field(max_length=2)],
            {},
            {
                "type": "object",
                "additionalProperties": {"type": "string", "maxLength": 8},
                "maxProperties": 2,
            },
        ),
        (
            Annotated[Text, Cel("self != ''", "say something")],
            ...,
            {
                "type": "string",
                "maxLength": 8,
                "x-kubernetes-validations": [
                    {"rule": "self != ''", "message": "say something", "reason": "FieldValueInvalid"}
                ],
            },
        ),
    ],
)
def test_what_pydantic_says_in_kubernetes_words(field_type: Any, default: Any, expected: Any) -> None:
    assert schema_of(field_type, default) == {"description": "d", **expected}


def test_models_are_put_in_place_without_titles() -> None:
    made = schema_of(Part | None, None)
    assert made == {
        "description": "d",
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "maxLength": 8, "description": "Its name."},
            "size": {"type": "integer", "default": 1, "description": "Its size."},
        },
    }


def test_a_models_default_is_empty_so_that_its_fields_defaults_count() -> None:
    assert schema_of(Sized, Sized())["default"] == {}


def test_items_of_a_list_map_are_told_apart_by_their_key() -> None:
    made = schema_of(Annotated[list[Part], ListMap(), Field(max_length=3)])
    assert (made["x-kubernetes-list-type"], made["x-kubernetes-list-map-keys"]) == ("map", ["name"])


class Keyless(ApiModel):
    """Has an optional name."""

    name: Text | None = None
    """Its name."""


class Recursive(ApiModel):
    """Contains itself."""

    inner: Recursive | None = None
    """Another one."""


class Undescribed(ApiModel):
    """Has a field that nobody describes."""

    a_field: int


@pytest.mark.parametrize(
    ("field_type", "default", "why"),
    [
        (str, ..., "a string needs a max_length"),
        (list[Text], ..., "a list needs Field(max_length=...)"),
        (Annotated[list[Text], Field(max_length=1)], ..., "needs ListMap(key) or Atomic()"),
        (
            Annotated[list[Keyless], ListMap(), Field(max_length=1)],
            ...,
            "the key name must be a required field",
        ),
        (Annotated[list[Any], Atomic(), Field(max_length=1)], ..., "Any: give it a type"),
        (dict[str, Text], ..., "a dict needs Field(max_length=...)"),
        (Annotated[dict[str, Any], Field(max_length=1)], ..., "any value at all"),
        (Annotated[dict[Text, Text], Field(max_length=1)], ..., "propertyNames: keys cannot be constrained"),
        (Any, ..., "type Any"),
        (int | bool, ..., "a union has no structural schema"),
        (Part | Sized, ..., "a union has no structural schema"),
        (tuple[int, Text], ..., "prefixItems: a tuple has no structural schema"),
        (timedelta, ..., "format duration means something else"),
        # Pydantic's own engine refuses these too, but not where they come in by the side door.
        (Annotated[Text, Field(json_schema_extra={"pattern": "^(?!x)"})], ..., "RE2 has no look-around"),
        (Part, Part(name="x"), "must be the field's own"),
        (int, None, "the default is None, and the type does not say so"),
        (Recursive, ..., "Recursive contains itself"),
        (Undescribed, ..., "aField.aField: no description"),
        (Literal["a", 1], ..., "an enum of several types"),
    ],
)
def test_what_kubernetes_cannot_say_is_an_error_that_names_the_field(
    field_type: Any, default: Any, why: str
) -> None:
    with pytest.raises(SchemaError) as refused:
        schema_of(field_type, default)
    assert str(refused.value).startswith("M.aField")
    assert why in str(refused.value)


class Fixed(ApiModel):
    """All but `free` is fixed."""

    model_config = rules(immutable=Immutable("cannot change", free=("free",)))

    needed: int
    """Must be there."""
    perhaps: int | None = None
    """May be there."""
    defaulted: int = 1
    """Is always there."""
    free: int | None = None
    """May change."""


def test_fixed_fields_have_a_rule_that_sees_them_come_and_go() -> None:
    found = {rule["fieldPath"]: rule["rule"] for rule in structural_schema(Fixed)["x-kubernetes-validations"]}
    assert found == {
        ".needed": "self.needed == oldSelf.needed",
        ".perhaps": "has(self.perhaps) == has(oldSelf.perhaps) && "
        "(!has(self.perhaps) || self.perhaps == oldSelf.perhaps)",
        ".defaulted": "self.defaulted == oldSelf.defaulted",
    }


def test_a_free_field_that_is_none_is_an_error() -> None:
    class Wrong(ApiModel):
        """Frees what is not there."""

        model_config = rules(immutable=Immutable("no", free=("nothing",)))

    with pytest.raises(SchemaError, match="may change, but is no field: nothing"):
        schema_of(Wrong)


def test_nothing_of_json_schema_is_left_in_the_crds() -> None:
    def walk(node: Any, path: str) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                named = path.endswith((".properties",))
                assert named or key not in {
                    "$ref",
                    "$defs",
                    "title",
                    "anyOf",
                    "oneOf",
                    "const",
                    "x-speechless-immutable",
                }, path
                walk(value, f"{path}.{key}")
        elif isinstance(node, list):
            for item in node:
                walk(item, path)

    for name, crd in all_crds().items():
        walk(crd["spec"]["versions"][0]["schema"], name)
