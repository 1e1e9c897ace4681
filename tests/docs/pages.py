"""The pages of this repository, and the fenced blocks on them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from tests.unit.layout.repository import texts

NOT_PAGES = ("CHANGELOG.md",)
"""Says what was; a command in it is one of its version."""

SHELL = ("console", "sh", "bash", "shell")
LANGUAGES = (
    *SHELL,
    "python",
    "yaml",
    "json",
    "text",
    "lua",
    "toml",
    "ini",
    "diff",
    "hcl",
    "mermaid",
    "promql",
    "dockerfile",
)
"""What a fence may say that it holds. A block without a language could be a command that no test sees."""

_FENCE = re.compile(r"^( *)(`{3,}|~{3,})[ \t]*([\w+-]*)[^\n]*\n(.*?)^ *\2[ \t]*$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: where it begins, what it says it holds, and its text."""

    page: str
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        """Page and line, as editors open them."""
        return f"{self.page}:{self.line}"


@cache
def pages() -> dict[str, str]:
    """Every Markdown page: its path, its text."""
    return {name: text for name, text in texts().items() if name.endswith(".md") and name not in NOT_PAGES}


def blocks_of(page: str, markdown: str) -> Iterator[Block]:
    """The fenced blocks of a page, without the indentation that a list gives them."""
    for match in _FENCE.finditer(markdown):
        indent, _, language, text = match.groups()
        line = markdown.count("\n", 0, match.start()) + 1
        lines = (row.removeprefix(indent) for row in text.splitlines())
        yield Block(page, line, language, "\n".join(lines))


def blocks(*languages: str) -> list[Block]:
    """The blocks of all pages that hold one of these languages; without any, all blocks."""
    found = (block for page, markdown in pages().items() for block in blocks_of(page, markdown))
    return [block for block in found if not languages or block.language in languages]
