"""An example as a row again: every shape becomes `messages`, or what comes nearest to it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speechless.contract import BadRows, DatasetFormat, FailureReason
from speechless.data.dataset import Looker, Problems
from speechless.data.examples import Conversation, Example, Message, Preference, Prompt, Rated, Text
from speechless.data.files import Place, parts_of, read_part
from speechless.errors import StageError


def row_of(example: Example) -> dict[str, Any]:
    """The row: `messages` (with `tools`) for a conversation, else TRL's row of that kind.

    A text after a prompt becomes `prompt` and `completion`: it has no turns, and turns would be other tokens.
    """
    match example:
        case Conversation():
            row: dict[str, Any] = {"messages": [_message(message) for message in example.messages]}
            row |= {"tools": list(example.tools)} if example.tools else {}
            return row | ({"prompt_type": example.prompt_type.value} if example.prompt_type else {})
        case Text():
            return (
                {"prompt": example.prompt, "completion": example.text}
                if example.prompt
                else {"text": example.text}
            )
        case Preference():
            sides = {"prompt": example.prompt, "chosen": example.chosen, "rejected": example.rejected}
            return {name: _side(side) for name, side in sides.items()}
        case Rated():
            answer = row_of(example.answer)
            return (
                ({"prompt": ""} if "text" in answer else {})
                | {{"text": "completion"}.get(name, name): value for name, value in answer.items()}
                | {"label": example.good}
            )
        case Prompt():
            return {"prompt": _side(example.prompt)} | example.targets


def convert(
    places: Sequence[Place], row_format: DatasetFormat, target: Path, bad_rows: BadRows
) -> tuple[int, Problems]:
    """Write the rows of files and folders as JSON Lines; how many, and what was left out.

    `target` is whole or it is not there. StageError(DATASET_INVALID) as the trainer's, unless bad rows are skipped.
    """
    files = parts_of(places)
    looker, problems, count = Looker(row_format), Problems(), 0
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            for looked in (looker.look(line) for file in files for line in read_part(file)):
                if looked.example is None:
                    problems.add(looked.where, looked.problem, torn=looked.torn)
                    continue
                row = row_of(looked.example)
                if looked.category is not None:
                    row["category"] = looked.category
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
                count += 1
        if bad_rows is BadRows.STOP or problems.torn:
            problems.raise_if_any()
        if not count:
            problems.raise_if_any()
            raise StageError(FailureReason.DATASET_INVALID, f"{files[0].name}: the file holds no row")
        Path(partial).chmod(0o644)
        os.replace(partial, target)
    finally:
        Path(partial).unlink(missing_ok=True)
    return count, problems


def _side(side: str | tuple[Message, ...]) -> str | list[dict[str, Any]]:
    return side if isinstance(side, str) else [_message(message) for message in side]


def _message(message: Message) -> dict[str, Any]:
    return message.to_template() | ({} if message.trained else {"weight": 0})
