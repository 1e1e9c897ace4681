"""A request and its answer under names of their own: alpaca and its kin, prompt and completion, marked texts."""

from __future__ import annotations

import re

from speechless.data.examples import Conversation, Message, Role, Text
from speechless.data.formats.turns import conversation, prompt_type_of
from speechless.data.formats.values import Row, RowError, kind_of, optional_text, text_of

_HH = re.compile(r"\n\n(Human|Assistant): ?")
_CHIP2 = re.compile(r"<(human|bot)>: ?")
_OASST1 = re.compile(r"### (Human|Assistant): ?")


def alpaca(row: Row) -> Conversation:
    """`{"instruction", "input", "output"}` (Taori et al., 2023), with LLaMA-Factory's `system` and `history`."""
    return _pair(row, "output")


def instruction_response(row: Row) -> Conversation | Text:
    """`{"instruction", "response"}`, with `input` and `system` if at all.

    Airoboros' `skip_prompt_formatting`: the instruction is the prompt as it stands.
    """
    skip = row.get("skip_prompt_formatting")
    if skip is None or skip is False:
        return _pair(row, "response")
    if skip is not True:
        raise RowError(f"'skip_prompt_formatting' is {kind_of(skip)}, not true or false")
    if beside := [key for key in ("system", "history", "prompt_type", "input") if row.get(key)]:
        raise RowError(f"'skip_prompt_formatting' leaves no place for '{beside[0]}'")
    return Text(text_of(row, "response"), text_of(row, "instruction"))


def text(row: Row) -> Text:
    """`{"text": str}`: all of it is trained."""
    return Text(text_of(row, "text"))


def chip2(row: Row) -> Conversation:
    """`{"text": "<human>: ... <bot>: ..."}` (LAION's OIG, chip2)."""
    return _marked(text_of(row, "text"), _CHIP2, "<human>: and <bot>:")


def oasst1(row: Row) -> Conversation:
    """`{"text": "### Human: ...### Assistant: ..."}` (the Guanaco set of OpenAssistant's conversations)."""
    return _marked(text_of(row, "text"), _OASST1, "### Human: and ### Assistant:")


def hh_rlhf(row: Row) -> Conversation:
    r"""`{"chosen": "\n\nHuman: ...\n\nAssistant: ..."}` (Bai et al., 2022): the better conversation alone."""
    return _marked(text_of(row, "chosen"), _HH, "Human: and Assistant:")


def marked(value: str) -> tuple[Message, ...]:
    """The turns of a text with Anthropic's marks, however they follow one another; none where it has no mark."""
    parts = _HH.split(value)
    roles = (Role.USER if mark == "Human" else Role.ASSISTANT for mark in parts[1::2])
    turns = zip(roles, parts[2::2], strict=True)
    return tuple(Message(role, words.strip()) for role, words in turns)


def _pair(row: Row, answer: str) -> Conversation:
    turns = []
    if system := optional_text(row, "system"):
        turns.append(Message(Role.SYSTEM, system))
    for number, pair in enumerate(_history(row), 1):
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise RowError(f"'history': turn {number} is no pair of texts")
        turns += [Message(Role.USER, pair[0]), Message(Role.ASSISTANT, pair[1])]
    asked, more = text_of(row, "instruction"), optional_text(row, "input")
    request = f"{asked}\n{more}" if more.strip() else asked
    turns += [Message(Role.USER, request), Message(Role.ASSISTANT, text_of(row, answer))]
    return conversation(turns, prompt_type=prompt_type_of(row))


def _history(row: Row) -> list[object]:
    found = row.get("history") or []
    if not isinstance(found, list):
        raise RowError("'history' is not a list")
    return found


def _marked(value: str, marks: re.Pattern[str], names: str) -> Conversation:
    parts = marks.split(value)
    if len(parts) < 3 or parts[0].strip():
        raise RowError(f"the text does not begin with one of the marks {names}")
    turns = []
    for mark, words in zip(parts[1::2], parts[2::2], strict=True):
        role = Role.USER if mark.lower() == "human" else Role.ASSISTANT
        if not words.strip():
            raise RowError(f"message {len(turns) + 1} is empty")
        turns.append(Message(role, words.strip()))
    return conversation(turns)
