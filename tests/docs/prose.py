"""Commands within sentences and tables: `like this`.

They have no row in the table: a mention may leave things out. What is there is checked.
"""

from __future__ import annotations

import re
from functools import cache

from tests.docs.checks.by_program import check_of
from tests.docs.pages import Block, pages
from tests.docs.shell import Command, commands

_FENCED = re.compile(r"^( *)(`{3,}|~{3,})[^\n]*\n.*?^ *\2[ \t]*$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")


def spans(markdown: str) -> list[tuple[int, str]]:
    """The code within sentences, each with its line; one that a line break cuts is one."""
    plain = _FENCED.sub(lambda match: "\n" * match[0].count("\n"), markdown)
    found = []
    for paragraph in re.finditer(r"(?:[^\n]+\n?)+", plain):
        for match in _SPAN.finditer(paragraph[0]):
            line = plain.count("\n", 0, paragraph.start() + match.start()) + 1
            found.append((line, " ".join(match[1].split()).replace("\\|", "|")))
    return found


def commands_in(page: str, markdown: str) -> list[Command]:
    """The spans of a page that are commands of a program with a check."""
    found = []
    for line, text in spans(markdown):
        if len(text.split()) < 2 or ("'" in text and text.count("'") % 2):
            continue
        for command in commands(Block(page, line, "console", text)):
            if command.words and check_of(command.words[0]):
                found.append(command)
    return found


@cache
def in_prose() -> tuple[Command, ...]:
    """The commands within the sentences of all pages."""
    return tuple(command for page, text in pages().items() for command in commands_in(page, text))
