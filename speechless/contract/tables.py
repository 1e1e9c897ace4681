"""What is a row of a table is a value of a field: `OneOf` ties the two together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import AfterValidator, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue

from speechless.contract.model import CHOICES


class Row(Protocol):
    """What every row can say of itself."""

    @property
    def text(self) -> str:
        """What it is, in one line."""


@dataclass(frozen=True)
class OneOf:
    """A string that names a row. The table is looked at when it is needed, so a row that is added later counts."""

    what: str
    """For the message, such as `engine`."""
    rows: Callable[[], Mapping[str, Row]]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        return AfterValidator(self.check).__get_pydantic_core_schema__(source, handler)

    def __get_pydantic_json_schema__(self, core: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        rows = self.rows()
        choices = {name: row.text for name, row in rows.items()}
        return handler(core) | {"enum": list(rows), CHOICES: choices}

    def check(self, value: str) -> str:
        """The value, if there is such a row; ValueError otherwise."""
        known = self.rows()
        if value not in known:
            raise ValueError(f"there is no {self.what} {value}; there are: {', '.join(known)}")
        return str(value)
