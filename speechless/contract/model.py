"""The base of every contract model: camelCase on the wire, unknown fields refused, values immutable."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class ContractModel(BaseModel):
    """JSON in camelCase, Python in snake_case; an unknown field is an error that names it."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, use_enum_values=False
    )

    def to_json(self, *, indent: int | None = None) -> str:
        """JSON by the wire's names, without fields that are None."""
        return self.model_dump_json(by_alias=True, exclude_none=True, indent=indent)
