"""The base of every API model, and the markers that say in Python what Kubernetes wants to know of a field."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, create_model
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from speechless.contract.model import VALIDATIONS, ContractModel, Rule

__all__ = [
    "IMMUTABLE",
    "VALIDATIONS",
    "ApiModel",
    "Atomic",
    "Cel",
    "Immutable",
    "ListMap",
    "optional",
    "rules",
]
M = TypeVar("M", bound=BaseModel)
IMMUTABLE = "x-speechless-immutable"
"""Of this project alone: `crd` turns it into one transition rule a field."""


class ApiModel(ContractModel):
    """A part of a resource that is not a part of the contract: what only Kubernetes has.

    Unknown fields are ignored here, as the API server has pruned or refused them already; a resource that was written
    by a newer CRD must not stop an older operator.
    """


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


def rules(*found: Cel | Callable[[], Iterable[Rule]], immutable: Immutable | None = None) -> ConfigDict:
    """The model configuration that carries a model's rules. Those that are made from a table of the contract are made
    when the schema is, so that a row that is added counts."""

    def extra(schema: JsonSchemaValue) -> None:
        made: list[dict[str, Any]] = []
        for item in found:
            if isinstance(item, Cel):
                made.append(item.as_dict())
            else:
                made += [Cel(rule.rule, rule.message, rule.field_path).as_dict() for rule in item()]
        if made:
            schema[VALIDATIONS] = made
        if immutable:
            schema[IMMUTABLE] = {"message": immutable.what_to_do, "free": list(immutable.free)}

    return ConfigDict(json_schema_extra=extra)


def optional(model: type[M], describe: Callable[[str, str], str]) -> type[M]:
    """A model with the same fields, none of which has a default: what is not set is not there.

    `describe` gets a field's name on the wire and its docstring, to which the default was added.
    """
    fields: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        text = (info.description or "").strip()
        if info.default not in (None, ()):
            default = info.default[0] if isinstance(info.default, tuple) else info.default
            text = f"{text.removesuffix('.')}; without it, {default}."
        field = Field(default=None, description=describe(info.alias or name, text))
        fields[name] = (info.rebuild_annotation() | None, field)
    made = create_model(model.__name__, __base__=ApiModel, __doc__=model.__doc__, **fields)
    return cast(type[M], made)
