"""A dataset's figures and one of its rows, for people. What is learned of the row is in colour, or in brackets."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from speechless.data.check import Check, Lengths
from speechless.data.examples import Conversation, Example, Message, Preference, Rated, Role, Text
from speechless.data.render import IGNORED, Tokens

Part = tuple[str, bool]
"""A piece of text, and whether it is learned."""


def lines(found: Check) -> Iterator[str]:
    """The figures."""
    more = f" (and {len(found.files) - 1} more)" if len(found.files) > 1 else ""
    yield f"files       {found.files[0]}{more}"
    yield f"format      {found.format}"
    yield f"rows        {found.rows}"
    yield f"bad         {found.bad}"
    yield f"duplicates  {found.duplicates}"
    if found.characters:
        yield f"characters  {_lengths(found.characters)}"
    if found.tokens:
        used = found.tokens
        yield f"tokens      {_lengths(used.lengths)}"
        yield (
            f"cut         {used.truncated} rows are longer than {used.max_length} tokens and lose their end; "
            f"{used.untrained} have nothing left to learn"
        )
        yield f"learned     {used.trained} tokens; {used.masked:.1%} of the tokens are only read"
    for name, counted in (("categories", found.categories), ("code", found.languages)):
        if counted:
            yield f"{name:<12}" + ", ".join(f"{key} {count}" for key, count in counted.items())
    for line in found.first_bad:
        yield f"bad row     {line}"
    if found.bad > len(found.first_bad):
        yield f"            and {found.bad - len(found.first_bad)} more"


def of_tokens(encoded: Tokens, tokenizer: Any) -> list[Part]:
    """A row as the model sees it: special tokens included, and learned as the labels say."""
    pairs = list(zip(*encoded, strict=True))
    runs = groupby(pairs, key=lambda pair: pair[1] != IGNORED)
    return [(tokenizer.decode([token for token, _ in run]), learned) for learned, run in runs]


def of_example(example: Example) -> list[Part]:
    """A row without a model: its turns, and which of them are learned."""
    match example:
        case Conversation():
            return _turns(example.messages)
        case Text():
            return [(example.prompt, False), (example.text, True)]
        case Preference():
            sides = (("", example.prompt), ("better: ", example.chosen), ("worse: ", example.rejected))
            return [
                part for name, side in sides for part in ((name, False), *_side(side, learned=bool(name)))
            ]
        case Rated():
            return [("good:\n" if example.good else "bad:\n", False), *of_example(example.answer)]
        case _:
            return [(str(example), False)]


def _side(side: tuple[Message, ...] | str, *, learned: bool) -> list[Part]:
    return [(side, learned), ("\n", False)] if isinstance(side, str) else _turns(side)


def _turns(messages: tuple[Message, ...]) -> list[Part]:
    return [
        part
        for message in messages
        for part in (
            (f"{message.role}: ", False),
            (
                message.content or str([call["function"] for call in message.tool_calls]),
                message.role is Role.ASSISTANT and message.trained,
            ),
            ("\n", False),
        )
    ]


def print_row(parts: list[Part]) -> None:
    """On a terminal what is learned is green; elsewhere it stands in brackets like [[this]]."""
    coloured = (
        sys.stdout.isatty()
        and not os.environ.get("NO_COLOR")
        and importlib.util.find_spec("rich") is not None
    )
    if not coloured:
        print("".join(f"[[{words}]]" if learned and words else words for words, learned in parts))
        return
    from rich.console import Console
    from rich.text import Text as Rich

    shown = Rich()
    for words, learned in parts:
        shown.append(words, style="bold green" if learned else "dim")
    Console().print(shown)


def _lengths(found: Lengths) -> str:
    return (
        f"{found.total} in all; a row {found.shortest} to {found.longest}, median {found.median}, "
        f"p90 {found.p90}, p99 {found.p99}"
    )
