"""Conversations: OpenAI's `messages`, the `conversations` of ShareGPT and of this project's own documented row.

Turns go by role, never by position: a system message first, if there is one; then the user and the assistant in turn;
the answers of tools behind the assistant's calls; the assistant at the end.
"""

from __future__ import annotations

from typing import Any

from speechless.contract import PROMPT_TYPES, PromptType
from speechless.data.examples import Conversation, Message, Role
from speechless.data.formats.values import (
    Row,
    RowError,
    checked,
    decoded,
    kind_of,
    list_of,
    optional_text,
    text_of,
)

OPENAI_ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
    "tool": Role.TOOL,
}
SHAREGPT_ROLES = {
    "system": Role.SYSTEM,
    "human": Role.USER,
    "user": Role.USER,
    "gpt": Role.ASSISTANT,
    "assistant": Role.ASSISTANT,
    "chatgpt": Role.ASSISTANT,
    "bot": Role.ASSISTANT,
    "bing": Role.ASSISTANT,
    "bard": Role.ASSISTANT,
    "model": Role.ASSISTANT,
    "function_call": Role.ASSISTANT,
    "tool": Role.TOOL,
    "function": Role.TOOL,
    "observation": Role.TOOL,
}
_WEIGHTS = {0: False, 1: True}
_REFUSED = (
    *("function_call", "tools", "functions", "images", "image", "videos", "audio", "audios", "mask", "loss"),
    *("reasoning_content", "reasoning", "thinking", "refusal"),
)
"""Keys of a message that change what is learned, and are not read."""


def messages(row: Row) -> Conversation:
    """`{"messages": [{"role", "content"}, ...]}`, OpenAI's fine-tuning row with its tools and weights.

    Source: https://platform.openai.com/docs/api-reference/fine-tuning/chat-input
    """
    turns = [_openai(message, number) for number, message in enumerate(list_of(row, "messages"), 1)]
    return conversation(with_system_of(row, turns), tools_of(row), prompt_type_of(row))


def conversations(row: Row) -> Conversation:
    """`{"conversations": [{"from", "value"}, ...]}` with `system` or `system_prompt` beside them, if at all.

    Turns of the shape `role` and `content` are taken as well, because both are found under this key.
    """
    found = list_of(row, "conversations")
    turns = []
    for number, message in enumerate(found, 1):
        here = isinstance(message, dict) and "from" not in message and "role" in message
        turns.append(_openai(message, number) if here else _sharegpt(message, number))
    return conversation(with_system_of(row, turns), tools_of(row), prompt_type_of(row))


def conversation(
    turns: list[Message], tools: tuple[dict[str, Any], ...] = (), prompt_type: PromptType | None = None
) -> Conversation:
    """The turns in an order that a model can learn from; RowError says which one is out of place."""
    expected: tuple[Role, ...] = (Role.SYSTEM, Role.USER)
    for number, turn in enumerate(turns, 1):
        if turn.role not in expected:
            raise RowError(f"message {number}: role '{turn.role}' where {' or '.join(expected)} is due")
        expected = _after(turn)
    if turns[-1].role is not Role.ASSISTANT:
        raise RowError(f"the last message is the {turns[-1].role}'s: there is no answer to learn")
    if turns[-1].tool_calls and not tools:
        raise RowError("the last message calls a tool, and the row has no 'tools'")
    if not any(turn.trained for turn in turns if turn.role is Role.ASSISTANT):
        raise RowError("no message of the assistant is trained: there is nothing to learn")
    return Conversation(tuple(turns), tools, prompt_type)


def prompt_type_of(row: Row) -> PromptType | None:
    """What a row says in `prompt_type`; null and an empty text say nothing."""
    said = optional_text(row, "prompt_type")
    if said and said not in PROMPT_TYPES:
        raise RowError(f"'prompt_type' is {said!r:.40}: there are {', '.join(PROMPT_TYPES)}")
    return PROMPT_TYPES[said] if said else None


def tools_of(row: Row) -> tuple[dict[str, Any], ...]:
    """The functions that may be called: `tools`, or OpenAI's older `functions`, a list or JSON text."""
    if row.get("tools") and row.get("functions"):
        raise RowError("'tools' and 'functions' are both there: which of them holds?")
    key = "functions" if row.get("functions") else "tools"
    if not row.get(key):
        return ()
    found = decoded(row[key], f"'{key}'")
    if not isinstance(found, list) or not all(isinstance(tool, dict) for tool in found):
        raise RowError(f"'{key}' is not a list of objects")
    return tuple(tool if "function" in tool else {"type": "function", "function": tool} for tool in found)


def _after(turn: Message) -> tuple[Role, ...]:
    match turn.role:
        case Role.SYSTEM:
            return (Role.USER,)
        case Role.USER:
            return (Role.ASSISTANT,)
        case Role.TOOL:
            return (Role.TOOL, Role.ASSISTANT)
        case Role.ASSISTANT:
            return (Role.TOOL,) if turn.tool_calls else (Role.USER,)


def with_system_of(row: Row, turns: list[Message]) -> list[Message]:
    """The turns, with a system text that stands beside them put first. An empty one is none, wherever it stands."""
    if len(turns) > 1 and turns[0].role is Role.SYSTEM and not turns[0].content.strip():
        turns = turns[1:]
    beside = [(key, text) for key in ("system", "system_prompt") if (text := optional_text(row, key)).strip()]
    if not beside:
        return turns
    if len(beside) > 1 or turns[0].role is Role.SYSTEM:
        raise RowError(f"'{beside[-1][0]}' is a second system text: which of them holds?")
    return [Message(Role.SYSTEM, beside[0][1]), *turns]


def _openai(message: object, number: int) -> Message:
    where = f"message {number}: "
    if not isinstance(message, dict):
        raise RowError(f"message {number} is {kind_of(message)}, not an object")
    for key in ("role", "content"):
        if key not in message and not (key == "content" and message.get("tool_calls")):
            raise RowError(f"{where}'{key}' is missing")
    _refuse_unread(message, where)
    role = _role(message["role"], OPENAI_ROLES, where)
    calls = _tool_calls(message, where)
    if calls and role is not Role.ASSISTANT:
        raise RowError(f"{where}the {role} calls a tool: only the assistant can")
    return Message(
        role,
        optional_text(message, "content", where=where)
        if calls or role is Role.TOOL
        else text_of(
            {"content": _joined(message["content"], where)}, "content", where=where, empty=role is Role.SYSTEM
        ),
        tool_calls=calls,
        name=optional_text(message, "name", where=where) or None,
        tool_call_id=optional_text(message, "tool_call_id", where=where) or None,
        trained=_trained(message, role, where),
    )


def _sharegpt(message: object, number: int) -> Message:
    where = f"message {number}: "
    if not isinstance(message, dict):
        raise RowError(f"message {number} is {kind_of(message)}, not an object")
    for key in ("from", "value"):
        if key not in message:
            raise RowError(f"{where}'{key}' is missing")
    _refuse_unread(message, where)
    role = _role(message["from"], SHAREGPT_ROLES, where)
    trained = _trained(message, role, where)
    if message["from"] == "function_call":
        call = decoded(message["value"], f"{where}'value'")
        calls = call if isinstance(call, list) else [call]
        return Message(role, "", _tool_calls({"tool_calls": calls}, where), trained=trained)
    return Message(
        role, text_of(message, "value", where=where, empty=role in (Role.TOOL, Role.SYSTEM)), trained=trained
    )


def _refuse_unread(message: Row, where: str) -> None:
    if present := [key for key in _REFUSED if message.get(key)]:
        raise RowError(f"{where}'{present[0]}' changes what is learned, and is not read")


def _role(value: object, known: dict[str, Role], where: str) -> Role:
    if not isinstance(value, str) or value not in known:
        raise RowError(f"{where}role {value!r:.40} is none of {', '.join(known)}")
    return known[value]


def _joined(content: object, where: str) -> object:
    """OpenAI's list of parts, if all of them are text, as one text."""
    if not isinstance(content, list):
        return content
    texts = []
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text":
            kind = part.get("type") if isinstance(part, dict) else kind_of(part)
            raise RowError(f"{where}a part of 'content' is {kind!s:.40}: only text is trained on")
        texts.append(text_of(part, "text", where=where, empty=True))
    return "".join(texts)


def _trained(message: Row, role: Role, where: str) -> bool:
    """OpenAI's `weight` (0 or 1) and axolotl's `train` (true or false), of the assistant's messages."""
    said = [key for key in ("weight", "train") if message.get(key) is not None]
    if not said:
        return True
    if len(said) > 1:
        raise RowError(f"{where}'weight' and 'train' are both there: which of them holds?")
    value = message[said[0]]
    if said[0] == "train" and not isinstance(value, bool):
        raise RowError(f"{where}'train' is {kind_of(value)}, not true or false")
    if said[0] == "weight" and (isinstance(value, bool) or value not in _WEIGHTS):
        raise RowError(f"{where}'weight' is {value!r:.40}: 0 (not trained) or 1")
    trained = bool(value)
    if trained and role is not Role.ASSISTANT:
        raise RowError(f"{where}'{said[0]}' asks to train on what the {role} says: only the assistant's is")
    return trained


def _tool_calls(message: Row, where: str) -> tuple[dict[str, Any], ...]:
    """The calls with their arguments as objects: OpenAI's rows have them as JSON text."""
    if not message.get("tool_calls"):
        return ()
    found = decoded(message["tool_calls"], f"{where}'tool_calls'")
    if not isinstance(found, list):
        raise RowError(f"{where}'tool_calls' is {kind_of(found)}, not a list")
    calls = []
    for call in found:
        function = call.get("function", call) if isinstance(call, dict) else None
        if not isinstance(function, dict) or "name" not in function:
            raise RowError(f"{where}a tool call has no name of a function")
        arguments = decoded(function.get("arguments") or {}, f"{where}'arguments'")
        if not isinstance(arguments, dict):
            raise RowError(f"{where}the arguments of a tool call are {kind_of(arguments)}, not an object")
        made: dict[str, Any] = {
            "type": "function",
            "function": {"name": checked(function["name"], f"{where}'name'"), "arguments": arguments},
        }
        if isinstance(call, dict) and call.get("id"):
            made["id"] = checked(call["id"], f"{where}'id'")
        calls.append(made)
    return tuple(calls)
