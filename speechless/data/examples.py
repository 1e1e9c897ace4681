"""What a row becomes: one of five typed examples, whatever shape it came in.

A renderer needs to know these five and no format; a format needs to know how to make one of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from speechless.contract import PromptType


class Role(StrEnum):
    """Who says a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class Message:
    """A turn of a conversation."""

    role: Role
    content: str
    tool_calls: tuple[dict[str, Any], ...] = ()
    """What the assistant calls: `{"type": "function", "function": {"name", "arguments": {...}}}`, OpenAI's shape with
    the arguments as an object, as chat templates take them."""
    name: str | None = None
    """Of a tool: which one answers."""
    tool_call_id: str | None = None
    trained: bool = True
    """Of the assistant: whether the loss is computed on this turn."""

    def to_template(self) -> dict[str, Any]:
        """As chat templates take it."""
        more = {"tool_calls": list(self.tool_calls), "name": self.name, "tool_call_id": self.tool_call_id}
        return {"role": self.role.value, "content": self.content} | {
            name: value for name, value in more.items() if value
        }


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns; the assistant's are trained."""

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()
    """What the assistant may call, as JSON schemas of functions."""
    prompt_type: PromptType | None = None
    """How its row says that it becomes text."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text that is trained, after a prompt that is only read."""

    text: str
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class Preference:
    """Two answers to the same, the better one and the worse one."""

    prompt: tuple[Message, ...] | str
    chosen: tuple[Message, ...] | str
    rejected: tuple[Message, ...] | str


@dataclass(frozen=True, slots=True)
class Rated:
    """An answer that somebody found good or bad: the last turn of a conversation, or a text."""

    answer: Conversation | Text
    good: bool


@dataclass(frozen=True, slots=True)
class Prompt:
    """Something to answer, and what an answer is judged by; nothing of it is trained."""

    prompt: tuple[Message, ...] | str
    targets: dict[str, Any] = field(default_factory=dict)
    """By the names of the row's own keys: `answer`, `reward_model`, `test_cases` and so on."""


Example = Conversation | Text | Preference | Rated | Prompt
