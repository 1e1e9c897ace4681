"""The base of every API model, and the markers that say in Python what Kubernetes wants to know of a field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

VALIDATIONS = "x-kubernetes-validations"
IMMUTABLE = "x-speechless-immutable"
"""Of this project alone: `crd` turns it into one transition rule a field."""


class ApiModel(BaseModel):
    """A part of a resource: camelCase on the wire, immutable in Python.

    Unknown fields are ignored here, as the API server has pruned or refused them already; a resource that was written
    by a newer CRD must not stop an older operator.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
    )


@dataclass(frozen=True)
class _Marker:
    """Adds `schema` to a field's JSON schema."""

    def schema(self) -> dict[str, Any]:
        raise NotImplementedError

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(core) | self.schema()


@dataclass(frozen=True)
class ListMap(_Marker):
    """A list whose items are told apart by a key: several writers can each own some of them."""

    key: str = "name"

    def schema(self) -> dict[str, Any]:
        """The list type and its key."""
        return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [self.key]}


@dataclass(frozen=True)
class Atomic(_Marker):
    """A list or an object that is replaced as a whole."""

    kind: str = "list"

    def schema(self) -> dict[str, Any]:
        """The list's or map's type."""
        return {f"x-kubernetes-{self.kind}-type": "atomic"}


@dataclass(frozen=True)
class Cel(_Marker):
    """A rule of the Common Expression Language; the message says what to do."""

    rule: str
    message: str
    field_path: str | None = None
    reason: str = "FieldValueInvalid"

    def as_dict(self) -> dict[str, Any]:
        """As the CRD has it."""
        path = {"fieldPath": self.field_path} if self.field_path else {}
        return {"rule": self.rule, "message": self.message, "reason": self.reason, **path}

    def schema(self) -> dict[str, Any]:
        """The rule alone: one marker a field."""
        return {VALIDATIONS: [self.as_dict()]}


@dataclass(frozen=True)
class Immutable:
    """Every field of the model but `free` is fixed once the resource exists."""

    what_to_do: str
    free: tuple[str, ...] = ()


def rules(*found: Cel, immutable: Immutable | None = None) -> ConfigDict:
    """The model configuration that carries a model's rules."""
    extra: dict[str, Any] = {}
    if found:
        extra[VALIDATIONS] = [cel.as_dict() for cel in found]
    if immutable:
        extra[IMMUTABLE] = {"message": immutable.what_to_do, "free": list(immutable.free)}
    return ConfigDict(json_schema_extra=extra)
