"""Rows for preference training and for reinforcement learning: a prompt with two answers, or with what judges one."""

from __future__ import annotations

from speechless.data.examples import Message, Preference, Prompt, Role
from speechless.data.formats.pairs import marked
from speechless.data.formats.turns import OPENAI_ROLES, SHAREGPT_ROLES, with_system_of
from speechless.data.formats.values import Row, RowError, kind_of, text_of

TARGETS = (
    "answer",
    "ground_truth",
    "label",
    "reward_model",
    "solution",
    "target",
    "test_cases",
    "tests",
)
"""Keys that an answer is judged by. `reward_model` is verl's, `{"style", "ground_truth"}`."""
CARRIED = ("ability", "data_source", "extra_info", "entry_point")
"""verl's other keys, and HumanEval's: carried along for a reward function."""


def preference(row: Row) -> Preference:
    """`{"prompt", "chosen", "rejected"}`; each a text or a list of messages (TRL's preference rows).

    Without `prompt`, it is the part that both answers begin with. A text with Anthropic's marks is a conversation.
    `system` or `system_prompt` comes before them.
    """
    found = _preference(row)
    prompt = (Message(Role.USER, found.prompt),) if isinstance(found.prompt, str) else found.prompt
    with_system = tuple(with_system_of(row, list(prompt)))
    if with_system == prompt:
        return found
    chosen, rejected = (
        (Message(Role.ASSISTANT, each),) if isinstance(each, str) else each
        for each in (found.chosen, found.rejected)
    )
    return Preference(with_system, chosen, rejected)


def _preference(row: Row) -> Preference:
    chosen, rejected = side(row, "chosen"), side(row, "rejected")
    if isinstance(chosen, str) != isinstance(rejected, str):
        raise RowError(
            "'chosen' and 'rejected' are of different kinds: both texts, or both lists of messages"
        )
    if chosen == rejected:
        raise RowError("'chosen' and 'rejected' are the same: there is nothing to prefer")
    if "prompt" in row:
        prompt = side(row, "prompt")
        if isinstance(prompt, str) and not isinstance(chosen, str):
            prompt = (Message(Role.USER, prompt),)
        if not isinstance(prompt, str) and isinstance(chosen, str) and isinstance(rejected, str):
            chosen, rejected = (Message(Role.ASSISTANT, chosen),), (Message(Role.ASSISTANT, rejected),)
        return Preference(prompt, chosen, rejected)
    if isinstance(chosen, str) or isinstance(rejected, str):
        raise RowError("'prompt' is missing, and two texts do not tell where it ends")
    shared = _shared(chosen, rejected)
    if not shared or shared == len(chosen) or shared == len(rejected):
        raise RowError("'chosen' and 'rejected' do not begin with the same request")
    return Preference(chosen[:shared], chosen[shared:], rejected[shared:])


def prompt_only(row: Row) -> Prompt:
    """`{"prompt"}`, a text or messages, with one of the keys in TARGETS (TRL's prompt-only row, verl's row)."""
    prompt = side(row, "prompt")
    if not isinstance(prompt, str) and prompt[-1].role is Role.ASSISTANT:
        raise RowError("'prompt' ends with the assistant's message: there is nothing left to answer")
    return Prompt(prompt, {key: row[key] for key in (*TARGETS, *CARRIED) if row.get(key) is not None})


def side(row: Row, key: str) -> str | tuple[Message, ...]:
    """A text, or the messages that a text with Anthropic's marks or a list holds."""
    value = row.get(key)
    if not isinstance(value, list):
        words = text_of(row, key)
        return marked(words) or words
    if not value:
        raise RowError(f"'{key}' is an empty list")
    return tuple(_message(message, f"'{key}', message {number}: ") for number, message in enumerate(value, 1))


def _message(message: object, where: str) -> Message:
    if not isinstance(message, dict):
        raise RowError(f"{where.removesuffix(': ')} is {kind_of(message)}, not an object")
    said, words, roles = (
        ("from", "value", SHAREGPT_ROLES) if "from" in message else ("role", "content", OPENAI_ROLES)
    )
    role = roles.get(message.get(said)) if isinstance(message.get(said), str) else None
    if role is None:
        raise RowError(f"{where}role {message.get(said)!r:.40} is none of {', '.join(roles)}")
    return Message(role, text_of(message, words, where=where))


def _shared(first: tuple[Message, ...], second: tuple[Message, ...]) -> int:
    """How many messages both begin with."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((number for number, (one, other) in pairs if one != other), min(len(first), len(second)))
