"""What stages and operator tell each other, read by whichever version is on the path: JSON in, JSON out.

In: {"spec": [text], "result": [text], "progress": [text], "run": [text]}. Out: the same with each text read and written
out in full, every default in; a text that was refused is {"refused": why}.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from speechless.contract import Progress, StageResult, parse_spec
from speechless_operator.desired.inputs import Run

Read = Callable[[str], Any]
READERS: dict[str, Read] = {
    "spec": lambda text: parse_spec(text).model_dump(mode="json", by_alias=True),
    "result": lambda text: StageResult.model_validate_json(text).model_dump(mode="json", by_alias=True),
    "progress": lambda text: Progress.model_validate_json(text).model_dump(mode="json", by_alias=True),
    "run": lambda text: (
        [found.status() for found in Run.from_json(text).inputs] + [Run.from_json(text).output]
    ),
}


def read(texts: dict[str, list[str]]) -> dict[str, list[Any]]:
    """Every text as this version understands it."""
    return {kind: [_one(READERS[kind], text) for text in found] for kind, found in texts.items()}


def _one(reader: Read, text: str) -> Any:
    try:
        return reader(text)
    except (ValueError, TypeError, KeyError) as error:  # pydantic's ValidationError is a ValueError
        return {"refused": str(error)}


if __name__ == "__main__":
    json.dump(read(json.load(sys.stdin)), sys.stdout)
