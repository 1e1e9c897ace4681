"""Taking values out of a row: each is what it has to be, or a RowError says what it is instead."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]


class RowError(ValueError):
    """What is wrong with a row, in words that go on after its file and line."""


def text_of(row: Row, key: str, *, where: str = "", empty: bool = False) -> str:
    """A string; one of white space alone is refused unless it may be empty."""
    name = f"{where}'{key}'"
    if key not in row:
        raise RowError(f"{name} is missing")
    return checked(row[key], name, empty=empty)


def optional_text(row: Row, key: str, *, where: str = "") -> str:
    """A string, or nothing: missing, null and empty mean the same."""
    return "" if row.get(key) is None else checked(row[key], f"{where}'{key}'", empty=True)


def checked(value: object, name: str, *, empty: bool = False) -> str:
    """The value itself, if it is a text that can be written as UTF-8."""
    if not isinstance(value, str):
        raise RowError(f"{name} is {kind_of(value)}, not a string")
    if not empty and not value.strip():
        raise RowError(f"{name} is empty")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise RowError(f"{name} has half of a surrogate pair at character {error.start + 1}") from None
    return value


def list_of(row: Row, key: str) -> list[Any]:
    """A list that is not empty; also one that is written as JSON text, as CSV and some sets have it."""
    value = decoded(row.get(key), f"'{key}'")
    if not isinstance(value, list) or not value:
        raise RowError(f"'{key}' is missing, empty or not a list")
    return value


def decoded(value: object, name: str) -> object:
    """The value; a text that is JSON for a list or an object is read."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except ValueError as error:
            raise RowError(f"{name} is a text that is no JSON: {error}") from None
        except RecursionError:
            raise RowError(f"{name} is nested too deeply") from None
    return value


def kind_of(value: object) -> str:
    """What JSON calls a value, for a message."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")
