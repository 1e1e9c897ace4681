"""The code in an answer, by the rules of Markdown (CommonMark): what stands in its fenced blocks."""

from __future__ import annotations

import ast
import re
import warnings
from typing import NamedTuple

PYTHON = frozenset({"python", "python3", "py", "py3", "python2", "ipython"})
"""What a block of Python calls itself."""


class Block(NamedTuple):
    """A fenced block."""

    language: str
    """The first word behind the fence, in small letters, without the signs of Pandoc's attributes; empty: none."""
    text: str


def blocks(answer: str) -> list[Block]:
    """The fenced blocks of an answer, also within lists and quotations; one that was cut off reaches to its end.

    Fences are told by line: a fence that is indented by four is a part of the code (CommonMark 0.31, section 4.5).
    """
    from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark")
    reader.core.ruler.enableOnly(
        ["normalize", "block"]
    )  # links and emphasis within lines are nobody's business
    tokens = reader.parse(answer)
    return [Block(_language(token.info), token.content) for token in tokens if token.type == "fence"]


def python(answer: str, entry_point: str) -> str:
    """The Python in an answer: the first block that defines a function, with the helpers that stand in other blocks.

    Another block counts where it only imports and defines, and not the function again: a usage example or a second
    attempt does not. Where no block of Python defines it, it is the first block of any name that does; else the first
    of Python; else the answer itself.
    """
    found = blocks(answer)
    mine = [block.text for block in found if not block.language or block.language in PYTHON]
    main = next((place for place, text in enumerate(mine) if defines(text, entry_point)), None)
    if main is None:
        others = (block.text for block in found if defines(block.text, entry_point))
        return next(others, mine[0] if mine else answer).rstrip("\n")
    helps = (text for place, text in enumerate(mine) if place == main or _only_defines(text, entry_point))
    return "\n".join(text.rstrip("\n") for text in helps)


def defines(source: str, entry_point: str) -> bool:
    """Whether a function of this name begins at the beginning of a line."""
    return re.search(rf"^(async\s+)?def\s+{re.escape(entry_point)}\b", source, re.MULTILINE) is not None


def future_imports(source: str) -> tuple[str, str]:
    """(the lines that import from `__future__`, the rest): they have to stand at the beginning of a program."""
    body = _parsed(source)
    found = [node for node in body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    lines = source.splitlines(keepends=True)
    taken = {number for node in found for number in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
    imports = [line for number, line in enumerate(lines, 1) if number in taken]
    return "".join(imports), "".join(line for number, line in enumerate(lines, 1) if number not in taken)


def _language(info: str) -> str:
    word = info.strip().split(maxsplit=1)[0] if info.strip() else ""
    return re.split(r"[:,={}\s]", word.strip("{}.").lower(), maxsplit=1)[0]


def _only_defines(text: str, entry_point: str) -> bool:
    body = _parsed(text)
    names = {node.name for node in body if isinstance(node, _NAMED)}
    return bool(body) and entry_point not in names and all(_defining(node) for node in body)


def _defining(node: ast.stmt) -> bool:
    if isinstance(node, ast.Assign | ast.AnnAssign):
        return not any(isinstance(part, ast.Call) for part in ast.walk(node))
    return isinstance(node, (*_NAMED, ast.Import, ast.ImportFrom))


def _parsed(source: str) -> list[ast.stmt]:
    """The statements; none where it is no Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a model writes may warn, such as of an escape
            return ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
