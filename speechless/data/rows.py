"""The formats of a training row, and what is wrong with one that does not fit."""

from collections.abc import Callable
from typing import Any

from speechless.contract import DatasetFormat

Row = dict[str, Any]
"""`{"messages": [{"role", "content"}, ...]}` or `{"prompt": str, "completion": str}`; other keys are carried along."""

ROLES = ("system", "user", "assistant")
# What would change the meaning of a row and is not trained on: better refused than dropped.
_NOT_YET = ("tools", "tool_calls", "functions", "function_call", "tool_call_id")


def detect_format(value: object) -> DatasetFormat | None:
    """The format by a row's keys; None if it is neither."""
    keys = value.keys() if isinstance(value, dict) else ()
    if "messages" in keys:
        return DatasetFormat.MESSAGES
    if "prompt" in keys and "completion" in keys:
        return DatasetFormat.PROMPT_COMPLETION
    return None


def problem_of(value: object, row_format: DatasetFormat) -> str | None:
    """What is wrong with a row of the given format (not Auto); None if nothing is."""
    if not isinstance(value, dict):
        return f"a row is an object, this is {_kind(value)}"
    present = [name for name in _NOT_YET if value.get(name)]
    if present:
        return f"'{present[0]}' is not supported"
    return _CHECKS[row_format](value)


def _prompt_completion(row: Row) -> str | None:
    for key in ("prompt", "completion"):
        if key not in row:
            return f"'{key}' is missing"
        if problem := _text(row[key], f"'{key}'"):
            return problem
    return None


def _messages(row: Row) -> str | None:
    """Optionally one system message, then user and assistant in turn, ending with the assistant's."""
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        return "'messages' is missing, empty or not a list"
    expected: tuple[str, ...] = ("system", "user")
    for number, message in enumerate(messages, 1):
        if problem := _message(message, f"message {number}"):
            return problem
        if message["role"] not in expected:
            return f"message {number}: role '{message['role']}' where {' or '.join(expected)} is due"
        expected = ("assistant",) if message["role"] == "user" else ("user",)
    if messages[-1]["role"] != "assistant":
        return f"the last message is the {messages[-1]['role']}'s: there is no answer to learn"
    return None


def _message(message: object, name: str) -> str | None:
    if not isinstance(message, dict):
        return f"{name} is {_kind(message)}, not an object"
    for key in ("role", "content"):
        if key not in message:
            return f"{name}: '{key}' is missing"
    present = [key for key in _NOT_YET if message.get(key)]
    if present:
        return f"{name}: '{present[0]}' is not supported"
    if message["role"] not in ROLES:
        return f"{name}: role {message['role']!r:.40} is none of {', '.join(ROLES)}"
    return _text(message["content"], f"{name}: 'content'")


def _text(value: object, name: str) -> str | None:
    if not isinstance(value, str):
        return f"{name} is {_kind(value)}, not a string"
    if not value.strip():
        return f"{name} is empty"
    try:
        value.encode()
    except UnicodeEncodeError as error:
        return f"{name} has half of a surrogate pair at character {error.start + 1}"
    return None


def _kind(value: object) -> str:
    """What JSON calls a value, for a message."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")


_CHECKS: dict[DatasetFormat, Callable[[Row], str | None]] = {
    DatasetFormat.MESSAGES: _messages,
    DatasetFormat.PROMPT_COMPLETION: _prompt_completion,
}
