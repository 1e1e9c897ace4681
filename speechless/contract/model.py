"""The base of every contract model: camelCase on the wire, immutable, read tolerantly and written sparsely.

Two versions meet on the wire: an operator and a stage image, or a store and whoever reads it years later. So a reader
ignores a field that it does not know (and says so in its log: `unknown_fields`), and a writer leaves out what is unset
or has its default. A default therefore never changes: a reader of another version fills in its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, GetJsonSchemaHandler, StringConstraints
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue

Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$", max_length=71)]


class ContractModel(BaseModel):
    """JSON in camelCase, Python in snake_case; an unknown field is ignored, values are immutable."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        frozen=True,
        use_enum_values=False,
        use_attribute_docstrings=True,
    )

    always_written: ClassVar[tuple[str, ...]] = ("version", "stage")
    """Fields that are written even with their default: by these a reader tells what it has before it."""

    def to_plain(self) -> dict[str, Any]:
        """What `to_json` writes, as Python's own types."""
        told = self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
        known = {name: getattr(self, name) for name in self.always_written if name in type(self).model_fields}
        plain: dict[str, Any] = _finite(told)
        return {name: str(value) for name, value in known.items()} | plain

    def to_json(self, *, indent: int | None = None) -> str:
        """JSON by the wire's names, without fields that are unset, None or have their default."""
        separators = (",", ":") if indent is None else None
        return json.dumps(self.to_plain(), indent=indent, separators=separators, ensure_ascii=False)


def _finite(value: Any) -> Any:
    """The value without numbers that JSON does not have: NaN and the infinities are left out, in a list null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        found = {name: _finite(inner) for name, inner in value.items()}
        return {name: inner for name, inner in found.items() if inner is not None or value[name] is None}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return value


def without_nulls(value: Any) -> Any:
    """A reader's first step, where a null is to mean the same as nothing at all."""
    return (
        {key: inner for key, inner in value.items() if inner is not None}
        if isinstance(value, dict)
        else value
    )


def unknown_fields(model: BaseModel, raw: object, above: str = "") -> list[str]:
    """The fields of `raw` (JSON as Python's types) that the model which was read from it does not know.

    >>> from speechless.contract import Source
    >>> unknown_fields(Source(uri="file:///x"), {"uri": "file:///x", "mirror": "file:///y"})
    ['mirror']
    """
    if not isinstance(raw, Mapping):
        return []
    names = {known: name for name, info in type(model).model_fields.items() for known in (info.alias, name)}
    found = []
    for key, value in raw.items():
        if key not in names:
            found.append(f"{above}{key}")
            continue
        inner = getattr(model, names[key])
        if isinstance(inner, BaseModel):
            found += unknown_fields(inner, value, f"{above}{key}.")
        elif isinstance(inner, tuple) and isinstance(value, list) and len(inner) == len(value):
            for number, (item, of) in enumerate(zip(inner, value, strict=True)):
                if isinstance(item, BaseModel):
                    found += unknown_fields(item, of, f"{above}{key}.{number}.")
    return found


# ------------------------------------------------------------------------------------------------ markers for a schema

VALIDATIONS = "x-kubernetes-validations"
CHOICES = "x-speechless-choices"
"""Of this project alone: what each value of an enum means; it becomes a part of the field's description."""


@dataclass(frozen=True)
class Marker:
    """Adds to a field's JSON schema what Kubernetes wants to know; nobody else reads it."""

    extra: tuple[tuple[str, str], ...]

    def __get_pydantic_json_schema__(self, core: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(core) | dict(self.extra)


ATOMIC = Marker((("x-kubernetes-list-type", "atomic"),))
"""A list that is replaced as a whole."""


@dataclass(frozen=True)
class Rule:
    """A rule across fields, in the Common Expression Language of Kubernetes; the message says what to do."""

    rule: str
    message: str
    field_path: str | None = None


def cut(text: str, limit: int) -> str:
    """The first `limit` bytes at most as JSON writes them, in whole characters; what was cut ends in `...`.

    >>> cut("ab", 5), cut("abcdefgh", 5)
    ('ab', 'ab...')
    """
    if _written(text) <= limit:
        return text
    size, kept = 3, []
    for character in text:
        size += _written(character)
        if size > limit:
            break
        kept.append(character)
    return "".join(kept) + "..."


def _written(text: str) -> int:
    """Bytes of a text in JSON, without the quotes."""
    return len(json.dumps(text, ensure_ascii=False).encode("utf-8", "replace")) - 2


def _whole(value: Any) -> Any:
    """Text that can be written as UTF-8: what cannot (half of a surrogate pair) becomes `?`."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


WholeText = Annotated[str, BeforeValidator(_whole)]
"""Text from anywhere: a message that quotes a file's name or a line of data may hold what UTF-8 cannot say."""
