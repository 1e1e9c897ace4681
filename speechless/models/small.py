"""The small files of a model's folder: JSON, and the header of a README. Bounded, and values that are of use."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from speechless.contract import FailureReason
from speechless.contract.modelinfo import LONGEST_TEXT, WORD
from speechless.errors import StageError

LARGEST = 64 << 20
"""Bytes of a JSON file at most (64 MiB): the tokenizers of large vocabularies have some 20 MB."""
CARD = 64 << 10
"""Bytes of a README that are read for its header."""
LARGEST_NUMBER = (1 << 63) - 1


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one where there is no file. StageError(MODEL_INVALID) if it is another thing."""
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    if len(text) > LARGEST:
        raise broken(path, f"larger than {LARGEST >> 20} MiB")
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise broken(path, f"no JSON: {str(problem)[:200]}") from None
    if not isinstance(told, dict):
        raise broken(path, f"a JSON {type(told).__name__} instead of an object")
    return told


def broken(path: Path, why: str) -> StageError:
    """A file that is not what its name says."""
    what = f"{path.parent.name}/{path.name}: {why}"
    return StageError(FailureReason.MODEL_INVALID, what, "bring the model's files again")


def read_card(path: Path) -> dict[str, list[str]]:
    """The header of a README (a model card's metadata): the texts at its top level, lists of texts too.

    Of YAML it reads what hubs write: `key: text`, `key: [a, b]`, and `- text` in lines of their own. Anything else is
    not there, nor is a header that is longer than 64 KiB.
    """
    try:
        with path.open("rb") as file:
            text = file.read(CARD).decode(errors="replace").lstrip("\ufeff")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    header = re.match(r"---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(\r?\n|\Z)", text, re.DOTALL)
    found: dict[str, list[str]] = {}
    key = ""
    for line in header[1].splitlines() if header else ():
        if match := re.fullmatch(r"([A-Za-z0-9_]+):(?:[ \t]+(.*))?", line.rstrip()):
            key = match[1]
            found[key] = _values(match[2] or "")
        elif (match := re.fullmatch(r"\s*-[ \t]+(.*)", line.rstrip())) and key:
            found[key] += _values(match[1])
        elif line.strip() and not line.lstrip().startswith("#"):
            key = ""  # something nested, which is no text
    return {name: values for name, values in found.items() if values}


def _values(text: str) -> list[str]:
    text = re.sub(r"(^|\s)#.*$", "", text).strip()
    inner = text[1:-1].split(",") if text.startswith("[") and text.endswith("]") else [text]
    return [value for each in inner if (value := each.strip().strip("'\"")) and value[0] not in "{[>|&*!"]


def word(value: object) -> str | None:
    """A technical name, or None.

    >>> word("LlamaForCausalLM"), word(7), word("two words")
    ('LlamaForCausalLM', None, None)
    """
    return value if isinstance(value, str) and re.fullmatch(WORD, value) else None


def text(value: object) -> str | None:
    """A text of a length that makes sense, or None."""
    whole = value.strip() if isinstance(value, str) else ""
    return whole if 0 < len(whole) <= LONGEST_TEXT and whole.isprintable() else None


def whole(value: object, least: int = 1) -> int | None:
    """A whole number from `least` on, or None.

    >>> whole(4096), whole(4096.0), whole(-1), whole(True)
    (4096, 4096, None, None)
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if least <= value <= LARGEST_NUMBER else None


def first(told: Mapping[str, Any], names: Iterable[str]) -> Any:
    """The value of the first name that has one."""
    return next((told[name] for name in names if told.get(name) is not None), None)


def ids(value: object) -> tuple[int, ...]:
    """Token ids: of one, or of a list."""
    each = value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(found for item in each[:64] if (found := whole(item, 0)) is not None))
