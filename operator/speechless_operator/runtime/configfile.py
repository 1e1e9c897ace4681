"""The administrator's file: YAML or JSON, checked whole, every mistake told with its place."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from speechless_operator.desired.settings import AdministratorFile


class ConfigError(Exception):
    """The file cannot be used: a line a problem."""


def load(path: Path) -> AdministratorFile:
    """Read the file.

    Raises:
        ConfigError: It cannot be read, is no YAML, or says something that has no meaning.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigError(f"{path}: {reason}") from error
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    try:
        return AdministratorFile.model_validate({} if found is None else found)
    except ValidationError as error:
        raise ConfigError(
            "\n".join(f"{path}: {_line(problem)}" for problem in error.errors(include_url=False))
        ) from error


def _line(problem: Any) -> str:
    where = ".".join(map(str, problem["loc"]))
    if problem["type"] != "extra_forbidden":
        return f"{where}: {problem['msg']}" if where else f"must be a mapping: {problem['msg']}"
    near = difflib.get_close_matches(str(problem["loc"][-1]), _names(AdministratorFile), n=1)
    return f"{where}: no such field" + (f"; did you mean {near[0]}?" if near else "")


def _names(model: type[BaseModel]) -> set[str]:
    """The names of all fields of the file, as they are written."""
    definitions = model.model_json_schema().get("$defs", {}).values()
    return {name for node in (model.model_json_schema(), *definitions) for name in node.get("properties", {})}
