"""Where the assistant's turns lie in the text that a chat template made of a conversation, found by rendering.

A turn begins where its prompt ends: the messages before it, open for an answer, which is what the model is given when
it is used. It ends where the conversation that stops with it ends. Both texts are looked up in the whole one.

Some templates show a message otherwise when more follows: Qwen3 and DeepSeek leave out earlier reasoning, Mistral moves
the tools to the last question. Then a word of our own takes the place of one message, and what stands before and
behind it tells the border. A border that neither way finds is refused: `LostTurnError`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

Messages = Sequence[Mapping[str, Any]]
"""As chat templates take them."""
Render = Callable[[Messages, bool], str]
"""Messages to text; True: open for the assistant's answer."""
_TAG = re.compile(r"</?\w+>")
_BORDER = re.compile(r"\s|<[^<>\s]+>")
"""White space, or a mark that the tokenizer may not know as a special token."""


class Span(NamedTuple):
    """Characters of a text, from `start` up to `end`."""

    start: int
    end: int


class LostTurnError(Exception):
    """A turn of the assistant cannot be found. `turn` counts the assistant's turns from 1."""

    def __init__(self, turn: int, why: str) -> None:
        """Take the turn's number and what is in the way."""
        super().__init__(why)
        self.turn = turn


@dataclass(frozen=True)
class Closing:
    """What a template puts behind an answer. White space behind its last special token is not part of it."""

    last: str = ""
    """Where the conversation ends."""
    rest: str = ""
    """What follows `last` up to the end of the text; it is not learned."""
    between: str = ""
    """Where the user goes on."""


def closing_of(ended: str, between: str, special: re.Pattern[str], begin_of_text: str) -> Closing:
    """Read off a closing: `ended` follows an answer at the end of the text, `between` one before the next question.

    What both begin with closes a turn. If that is nothing, each place has a closing of its own (gpt-oss). Where only
    `between` has a token, the model stops by saying that, be it the first one of the next question (GLM-4).
    """
    last = shared = _shared(ended, between, special)
    if not shared.strip():
        last = _first_special(ended, special) or ended
        shared = _first_special(between, special) or shared
        if begin_of_text and shared.endswith(begin_of_text):
            shared = last
    last, shared = _without_blanks(last, special), _without_blanks(shared, special)
    return Closing(last, ended[len(last) :], shared)


class Turns:
    """The assistant's turns in the text of one conversation."""

    def __init__(
        self, render: Render, messages: Messages, text: str, closing: Closing, special: re.Pattern[str]
    ) -> None:
        """`text` is what `render` makes of all the messages, `special` finds the tokenizer's special tokens."""
        self._render, self._messages, self._text = render, messages, text
        self._closing, self._special = closing, special
        self._numbers = {
            place: number
            for number, place in enumerate(
                (place for place, message in enumerate(messages) if message["role"] == "assistant"), 1
            )
        }

    @property
    def places(self) -> list[int]:
        """Which of the messages are the assistant's."""
        return list(self._numbers)

    def spans(self, places: Sequence[int]) -> list[Span]:
        """What the model has to say in the turns at some places among the messages, with what closes each.

        LostTurnError if the borders of one cannot be told, or if it does not show a tool's name that it calls.
        """
        found = []
        for place in places:
            span = self._span(place)
            if found and span.start < found[-1].end:
                raise self._lost(place, "it begins before the turn before it ends")
            found.append(span)
        return found

    def _span(self, place: int) -> Span:
        start, end = self._start(place), self._end(place)
        if end < start:
            raise self._lost(place, "it ends before it begins")
        shown = self._text[start:end]
        if not shown and self._messages[place]["content"].strip():
            raise self._lost(place, "the template does not show it")
        for call in self._messages[place].get("tool_calls", ()):
            if call["function"]["name"] not in shown:
                raise self._lost(place, f"the template does not show its call of {call['function']['name']}")
        return Span(start, end)

    def _start(self, place: int) -> int:
        if place == 0:
            raise self._lost(place, "nothing is asked before it")
        given = self._render(self._messages[:place], True)
        if self._text.startswith(given):
            return len(given)
        # The messages before it look different here: go on from the end of the last of them.
        before, behind = self._around(place, place - 1, self._messages)
        border = len(self._text) - len(behind)
        if border < len(before) or not self._text.startswith(before) or not self._text.endswith(behind):
            raise self._lost(place, "the message before it changes what stands around it")
        header = self._around(place, place - 1, self._messages[:place], answer=True)[1]
        if self._text.startswith(header, border):
            return border + len(header)
        # The prompt for an answer ends otherwise than the turn begins, as by a "<think>" that the turn does not show.
        # What both have is given to the model. It is more than the end of the message before, and the rest is marks.
        both = len(_shared(header, self._text[border:], self._special))
        closed = self._around(place, place - 1, self._messages[:place])[1]
        if both <= alike(header, closed) or not self._only_marks(header[both:]):
            raise self._lost(place, "it does not begin as the template's prompt for an answer ends")
        return border + both

    def _only_marks(self, text: str) -> bool:
        return not _TAG.sub("", self._special.sub("", text)).strip()

    def _end(self, place: int) -> int:
        close = self._closing
        if place == len(self._messages) - 1:
            if not self._text.endswith(close.rest):
                raise self._lost(place, "the conversation does not end as others do")
            return len(self._text) - len(close.rest)
        upto = self._render(self._messages[: place + 1], False)
        if upto.endswith(close.last + close.rest):
            body = upto[: len(upto) - len(close.last + close.rest)] + close.between
            if self._text.startswith(body):
                return len(body)
        # The turn looks different here from where it is the last one: go by what follows it.
        behind = self._around(place, place, self._messages)[1]
        border = len(self._text) - len(behind)
        if not self._text.endswith(behind):
            raise self._lost(place, "its words change what follows it")
        if not self._messages[place].get("tool_calls"):
            closed = close.between
        else:
            alone = self._around(place, place, self._messages[: place + 1])[1]
            closed = _without_blanks(_shared(alone, behind, self._special), self._special)
        if not behind.startswith(closed) or (not closed and self._messages[place].get("tool_calls")):
            raise self._lost(place, "it does not close as the template's other answers do")
        return border + len(closed)

    def _around(self, turn: int, place: int, messages: Messages, *, answer: bool = False) -> tuple[str, str]:
        """What stands before and behind a word in a message's place: in its last call's name, if it calls tools."""
        word = next(word for number in range(10**6) if (word := f"qz{number}word") not in self._text)
        message = messages[place]
        put = [*messages]
        if calls := message.get("tool_calls"):
            name = calls[-1]["function"]["name"]
            function = calls[-1]["function"] | {"name": word}
            put[place] = {**message, "tool_calls": [*calls[:-1], calls[-1] | {"function": function}]}
        else:
            put[place] = {**message, "content": word}
        before, found, behind = self._render(put, answer).partition(word)
        if calls:
            behind = behind.replace(word, name)  # the tool's answer may name the function again
        if not found or word in behind:
            times = "twice" if found else "nowhere"
            raise self._lost(turn, f"the template shows a message of the {message['role']} {times}")
        return before, behind

    def _lost(self, place: int, why: str) -> LostTurnError:
        return LostTurnError(self._numbers[place], why)


def alike(one: Sequence[Any], other: Sequence[Any]) -> int:
    """How many items two sequences begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, pair in pairs if pair[0] != pair[1]), min(len(one), len(other)))


def _shared(one: str, other: str, special: re.Pattern[str]) -> str:
    """What two texts begin with alike, in whole special tokens; not half a word, unless it is all of `one`."""
    size = alike(one, other)
    for text in (one, other):
        for token in special.finditer(text):
            if token.start() < size < token.end():
                size = token.start()
    if size == len(one):
        return one
    ends = [found.end() for pattern in (special, _BORDER) for found in pattern.finditer(one[:size])]
    return one[: max(ends, default=0)]


def _first_special(text: str, special: re.Pattern[str]) -> str:
    """A text up to its first special token's end, if it begins with one; white space may stand before it."""
    found = special.match(text, len(text) - len(text.lstrip()))
    return text[: found.end()] if found else ""


def _without_blanks(text: str, special: re.Pattern[str]) -> str:
    """A text without the white space behind the special token that it ends with, if it does."""
    bare = text.rstrip()
    ends = any(token.end() == len(bare) for token in special.finditer(bare))
    return bare if ends else text
