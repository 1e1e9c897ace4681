"""A reader of `task.env`: assignments as a shell writes them. Nothing that stands in the file is ever executed.

It knows `NAME=value`, `export`, both kinds of quotes, `\\`, `#`, `~`, `$NAME`, `${NAME}` and `${NAME:-default}` (also
with `-`, `:=`, `=`, `:+` and `+`). Whatever would run something, or needs more of a shell, is told with its line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_EXPANSION = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(:?[-=+])?")
_RUNS = {"|": "a pipe", ";": "a second command", "&": "a command in the background", "<": "a redirection",
         ">": "a redirection", "(": "a list or a subshell", ")": "a list or a subshell"}  # fmt: skip


@dataclass(frozen=True)
class Unread:
    """A line that is not read, or only in part."""

    line: int
    name: str
    """The variable that it sets; empty: none."""
    why: str
    command: bool = False
    """Whether a command follows: then a shell sets the variable for that command alone, and runs it."""


@dataclass
class TaskEnv:
    """What a file sets."""

    values: dict[str, str] = field(default_factory=dict)
    """In the order of the file."""
    lines: dict[str, int] = field(default_factory=dict)
    """Where each was set last."""
    exported: set[str] = field(default_factory=set)
    unread: list[Unread] = field(default_factory=list)

    def unknown(self, name: str) -> Unread | None:
        """Why the value of a variable that is set is not known."""
        told = [each for each in self.unread if each.name == name]
        return told[-1] if told and name not in self.values else None


class _No(Exception):  # noqa: N818 - the reason, for `Unread`
    """What cannot be read."""


class _Command(_No):
    """What a shell would take for a command."""


def read(file: Path, environment: Mapping[str, str]) -> TaskEnv:
    """What the file sets, where `environment` holds what was exported before it."""
    return parse(file.read_text(encoding="utf-8", errors="replace"), environment)


def parse(text: str, environment: Mapping[str, str]) -> TaskEnv:
    """The same of a text."""
    found = TaskEnv()
    reader = _Reader(text, environment, found.values)
    while not reader.ended:
        line, here = reader.line, list[str]()
        try:
            for name, value, export in reader.statement():
                if value is not None:
                    here.append(name)
                    found.values[name] = value
                    found.lines[name] = line
                if export:
                    found.exported.add(name)
        except _No as why:
            # Before a command, assignments are for that command alone.
            for name in dict.fromkeys((*here, reader.setting)):
                found.unread.append(Unread(line, name, str(why), isinstance(why, _Command)))
                found.values.pop(name, None)
                reader.lost.add(name)
            reader.skip()
    return found


class _Reader:
    """Reads one character after the other."""

    def __init__(self, text: str, environment: Mapping[str, str], values: Mapping[str, str]) -> None:
        self._text = text
        self._at = 0
        self._environment, self._values = environment, values
        self.lost: set[str] = set()
        """Variables whose value is not known any more."""
        self.setting = ""
        """The variable whose value is read now."""

    @property
    def ended(self) -> bool:
        return self._at >= len(self._text)

    @property
    def line(self) -> int:
        """Counted from 1."""
        return self._text.count("\n", 0, self._at) + 1

    def _peek(self, ahead: int = 0) -> str:
        place = self._at + ahead
        return self._text[place] if place < len(self._text) else ""

    def skip(self) -> None:
        """Go behind the end of the line."""
        end = self._text.find("\n", self._at)
        self._at = len(self._text) if end < 0 else end + 1

    def statement(self) -> Iterator[tuple[str, str | None, bool]]:
        """The assignments of a line: (name, value or None for `export NAME` alone, whether it is exported)."""
        self.setting, export = "", False
        while self._blank():
            match = _NAME.match(self._text, self._at)
            if match is None:
                raise _Command(f"{self._rest()!r} is no assignment")
            name, after = match.group(), self._text[match.end() : match.end() + 1]
            if name == "export" and after in (" ", "\t"):
                self._at, export = match.end(), True
            elif after == "=":
                self._at, self.setting = match.end() + 1, name
                value = self._word("")
                self.lost.discard(name)
                yield name, value, export
            elif export and (not after or after.isspace()):
                self._at = match.end()
                yield name, None, True
            else:
                raise _Command(f"{self._rest()!r} is no assignment, and commands are never executed")
        self.skip()

    def _blank(self) -> bool:
        """Go to the next word of the line; False: there is none."""
        while self._peek() in (" ", "\t", "\r") or self._text.startswith("\\\n", self._at):
            self._at += 2 if self._peek() == "\\" else 1
        return self._peek() not in ("", "\n", "#")

    def _rest(self) -> str:
        return self._text[self._at :].partition("\n")[0].strip()[:60]

    def _word(self, end: str) -> str:
        """A word without its quotes, up to white space; `end`: up to this character, of a default within braces."""
        made = ""
        if self._peek() == "~" and self._peek(1) in ("/", "\n", "", " "):
            self._at += 1
            made = self._environment.get("HOME", "~")
        while True:
            character = self._peek()
            if character == end or (not end and (not character or character.isspace())):
                return made
            if not character:
                raise _No("a brace is not closed")
            self._at += 1
            if not end and character in _RUNS:
                raise _No(f"{character} is {_RUNS[character]}, and nothing is executed")
            match character:
                case "'":
                    made += self._quoted()
                case '"':
                    made += self._double()
                case "\\":
                    made += self._escaped()
                case "$" | "`":
                    made += self._expansion(character)
                case _:
                    made += character

    def _quoted(self) -> str:
        end = self._text.find("'", self._at)
        if end < 0:
            raise _No("a quote is not closed")
        made, self._at = self._text[self._at : end], end + 1
        return made

    def _double(self) -> str:
        made = ""
        while (character := self._peek()) != '"':
            if not character:
                raise _No("a quote is not closed")
            self._at += 1
            if character == "\\" and self._peek() in ("$", "`", '"', "\\", "\n"):
                made += self._escaped()
            elif character in ("$", "`"):
                made += self._expansion(character)
            else:
                made += character
        self._at += 1
        return made

    def _escaped(self) -> str:
        character = self._peek()
        self._at += 1
        return "" if character == "\n" else character

    def _expansion(self, sign: str) -> str:
        if sign == "`" or self._peek() == "(":
            raise _No("a command stands in the value, and nothing is executed: write what it would print")
        if self._peek() == "{":
            return self._braces()
        match = _NAME.match(self._text, self._at)
        if match is None:
            if self._peek() in ("", "\n", " ", '"', "'", "/"):
                return "$"
            raise _No(f"${self._peek()} is not known here")
        self._at = match.end()
        return self._of(match.group()) or ""

    def _braces(self) -> str:
        match = _EXPANSION.match(self._text, self._at + 1)
        if match is None or (not match[2] and self._text[match.end() : match.end() + 1] != "}"):
            raise _No(f"{'$' + self._rest()!r} is more than $NAME and ${{NAME:-default}}: write the value")
        self._at = match.end()
        name, how = match.groups()
        if how is None:
            self._at += 1
            return self._of(name) or ""
        # Of what is not chosen nothing need be known.
        own = self._of(name) if name not in self.lost else _raise(name)
        there = bool(own) if how.startswith(":") else own is not None
        other = self._word("}")
        self._at += 1
        if how.endswith("+"):
            return other if there else ""
        return own or "" if there else other

    def _of(self, name: str) -> str | None:
        if name in self.lost:
            _raise(name)
        return self._values.get(name, self._environment.get(name))


def _raise(name: str) -> None:
    raise _No(f"${name} is not known: the line that sets it is not read")
