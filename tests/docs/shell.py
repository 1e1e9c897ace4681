"""From a block of shell to its single commands.

A block where a line begins with `$ ` shows commands and what they print: the lines with `$ ` are commands. In any other
block every line is one. A line is split where a shell would split it (`;`, `&`, `|`, `&&`, `||`, `$(...)`, loops);
what a here-document says is kept with its command. `<name>` in small letters stands for what the reader has: a word.
"""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.docs.pages import Block

_QUOTED = r"'[^']*'|\"(?:\\.|[^\"\\])*\"|\\."
_MARKS = re.compile(rf"({_QUOTED})|((?<![^\s;&|(])#[^\n]*)|(\n)|<([a-z][\w ./-]*)>", re.DOTALL)
_HERE = re.compile(r"<<-?[ ]*(['\"]?)(\w+)\1([^\n]*)\n(.*?)^[ \t]*\2[ ]*$", re.MULTILINE | re.DOTALL)
_INNER = re.compile(r"\$\(([^()]*)\)")
_OPEN, _CLOSE = "\x01", "\x02"
"""Around a placeholder while the text is split: a shell takes `<` for a redirection."""
_ASSIGNED = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_SKIPPED = frozenset(
    ["do", "then", "else", "elif", "if", "while", "until", "!", "{", "time", "sudo", "exec", "nohup"]
)
"""In front of a command."""
_NO_COMMAND = frozenset(["for", "case", "select", "done", "fi", "esac", "}"])


@dataclass(frozen=True)
class Command:
    """One command: where it is, its words without quotes and redirections, its variables, its here-document."""

    block: Block
    words: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    stdin: str = ""

    @property
    def text(self) -> str:
        """Variables and words in one line: what the shapes of the table are compared with."""
        return " ".join([*(f"{name}={value}" for name, value in self.env.items()), *self.words])

    def __str__(self) -> str:
        """The place and the command; of a block of Python, its beginning."""
        return f"{self.block.place}: {textwrap.shorten(self.text, 200)}"


def commands(block: Block) -> list[Command]:
    """The single commands of a block, in order."""
    here: list[str] = []

    def keep(match: re.Match[str]) -> str:
        here.append(match[4])
        return f"< HERE{len(here) - 1} {match[3]}"

    text = _HERE.sub(keep, script(block.text)).replace("\\\n", " ")
    return [_command(block, words, here) for words in _split(_plain(text))]


def script(text: str) -> str:
    """What a reader types of a block: all of it, or what stands behind `$ `."""
    lines = text.splitlines()
    if not any(line.startswith("$ ") for line in lines):
        return text
    typed, goes_on = [], False
    for line in lines:
        if line.startswith("$ ") or goes_on:
            typed.append(line.removeprefix("$ "))
            goes_on = line.endswith("\\")
    return "\n".join(typed)


def _plain(text: str) -> str:
    """The text without comments, in one line; a placeholder is a word in other brackets."""

    def one(match: re.Match[str]) -> str:
        quoted, comment, _, placeholder = match.groups()
        if quoted:
            return quoted
        if placeholder:
            return f"{_OPEN}{placeholder.replace(' ', '_')}{_CLOSE}"
        return " " if comment else " ; "

    return _MARKS.sub(one, text)


def _split(text: str) -> Iterator[list[str]]:
    """The words of each single command, redirections included."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set(";&|()"):
            yield from [words] if words else []
            words = []
            continue
        words.append(word)
        for inner in _INNER.findall(word):
            yield from _split(inner)


def _command(block: Block, words: Sequence[str], here: Sequence[str]) -> Command:
    kept, stdin = [], ""
    left = iter(words)
    for word in left:
        if word and set(word) <= set("<>&"):
            target = next(left, "")
            stdin = here[int(target[4:])] if target.startswith("HERE") else stdin
            if kept and kept[-1] in ("1", "2"):  # 2>file
                kept.pop()
        else:
            kept.append(word.replace(_OPEN, "<").replace(_CLOSE, ">"))
    env: dict[str, str] = {}
    while kept and (kept[0] in _SKIPPED or _ASSIGNED.fullmatch(kept[0])):
        if match := _ASSIGNED.fullmatch(kept.pop(0)):
            env[match[1]] = match[2]
    if kept and kept[0] in _NO_COMMAND:
        kept = []
    return Command(block, tuple(kept), env, stdin)


def all_commands(blocks: Sequence[Block]) -> list[Command]:
    """The commands of these blocks; an assignment alone, or a loop's head, is none."""
    return [command for block in blocks for command in commands(block) if command.words]
