"""A prompt and one answer to it, as texts or as messages; and whether the answer is good."""

from __future__ import annotations

from dataclasses import replace

from speechless.data.examples import Conversation, Message, Rated, Role, Text
from speechless.data.formats.preferences import side
from speechless.data.formats.turns import conversation, conversations, messages, tools_of, with_system_of
from speechless.data.formats.values import Row, RowError, text_of


def prompt_completion(row: Row) -> Conversation | Text:
    """`{"prompt", "completion"}`: the prompt is only read (TRL's prompt-completion rows).

    Texts are tokens as they stand; lists of messages go through the chat template, and so does a text with a system
    text or with tools beside it.
    """
    if isinstance(row.get("prompt"), str) and isinstance(row.get("completion"), str):
        asked = Message(Role.USER, text_of(row, "prompt"))
        before, words = [asked], text_of(row, "completion")
        if with_system_of(row, before) == before and not tools_of(row):
            return Text(words, asked.content)
    prompt, answer = side(row, "prompt"), side(row, "completion")
    turns = [Message(Role.USER, prompt)] if isinstance(prompt, str) else list(prompt)
    turns = with_system_of(row, turns)
    said = (Message(Role.ASSISTANT, answer),) if isinstance(answer, str) else answer
    read = [replace(turn, trained=turn.role is not Role.ASSISTANT) for turn in turns]
    return conversation([*read, *said], tools_of(row))


def input_output(row: Row) -> Text:
    """`{"input", "output"}` (LightLLM's rows): the input is only read, and both are tokens as they stand."""
    return Text(text_of(row, "output"), text_of(row, "input"))


def unpaired(row: Row) -> Rated:
    """`{"prompt", "completion", "label"}` (TRL's unpaired preference), or a conversation with a label.

    `kto_tag` is LLaMA-Factory's name of the label. What is judged is the last answer alone.
    """
    said = [key for key in ("label", "kto_tag") if row.get(key) is not None]
    if len(said) > 1:
        raise RowError("'label' and 'kto_tag' are both there: which of them holds?")
    if not said or not isinstance(row[said[0]], bool):
        raise RowError("'label' says whether the answer is good: true or false")
    if "messages" in row or "conversations" in row:
        found: Conversation | Text = messages(row) if "messages" in row else conversations(row)
    else:
        found = prompt_completion(row)
    return Rated(_last(found) if isinstance(found, Conversation) else found, row[said[0]])


def _last(found: Conversation) -> Conversation:
    """Of the answers, the last alone is trained."""
    *before, last = found.messages
    read = (replace(turn, trained=turn.role is not Role.ASSISTANT) for turn in before)
    return Conversation((*read, replace(last, trained=True)), found.tools)
