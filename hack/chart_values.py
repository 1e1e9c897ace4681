"""The table of values in charts/speechless/README.md, made from values.yaml: `python hack/chart_values.py`.

A value's description is the comment above it, and a value without one is a mistake. A key in a comment below a value
(`# name: example  # text`) is a value that is not set.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).resolve().parent.parent
VALUES = ROOT / "charts" / "speechless" / "values.yaml"
TARGET = ROOT / "charts" / "speechless" / "README.md"
BEGIN, END = "<!-- values: made by `python hack/chart_values.py`, do not edit -->", "<!-- end of values -->"
_UNSET = re.compile(r" +# (?P<name>\w+): (?P<example>.+?) +# (?P<text>.+)")


class Row(NamedTuple):
    """A line of the table."""

    name: str
    default: str
    text: str


def rows(source: str) -> list[Row]:
    """Every value of a values.yaml in its order, with its default and its comment; ValueError where that is missing."""
    found = list(_mapping(yaml.compose(source), source.splitlines(), ""))
    if silent := [row.name for row in found if not row.text]:
        raise ValueError(f"no comment above: {', '.join(silent)}")
    return found


def _mapping(node: yaml.Node | None, lines: list[str], prefix: str) -> Iterator[Row]:
    if not isinstance(node, yaml.MappingNode):
        raise ValueError(f"{prefix or 'the file'} is no mapping")
    for key, value in node.value:
        name, line = f"{prefix}{key.value}", key.start_mark.line
        inside = isinstance(value, yaml.MappingNode) and not value.flow_style
        text = _comment_above(lines, line)
        if not inside:
            yield Row(name, _default(value), text)
            yield from _unset(lines[line + 1 :], f"{name}.")
            continue
        if text:  # of a group: it is said once, above its values
            yield Row(name, "", text)
        yield from _mapping(value, lines, f"{name}.")


def _comment_above(lines: list[str], line: int) -> str:
    words: list[str] = []
    while line and lines[line - 1].lstrip().startswith("#") and not _UNSET.fullmatch(lines[line - 1]):
        line -= 1
        words.insert(0, lines[line].strip("# "))
    return " ".join(words)


def _unset(below: list[str], prefix: str) -> Iterator[Row]:
    for line in below:
        if not (match := _UNSET.fullmatch(line)):
            return
        yield Row(prefix + match["name"], "not set", f"{match['text']} Such as `{match['example']}`.")


def _default(node: yaml.Node) -> str:
    value = yaml.safe_load(yaml.serialize(node))
    return "`" + json.dumps(value, ensure_ascii=False) + "`"


def table(found: list[Row]) -> str:
    """The rows as Markdown."""
    cells = (f"| `{row.name}` | {row.default} | {_words(row.text)} |" for row in found)
    return "\n".join(["| Value | Default | What it is |", "|---|---|---|", *cells])


def _words(text: str) -> str:
    """A comment as Markdown: what is in backticks stays as it is."""
    parts = text.replace("|", "\\|").split("`")
    return "`".join(part if number % 2 else part.replace("<", "\\<") for number, part in enumerate(parts))


def page() -> str:
    """The README with its table as values.yaml has it."""
    before, _, rest = TARGET.read_text(encoding="utf-8").partition(BEGIN)
    if not rest:
        raise ValueError(f"{TARGET.name} has no line {BEGIN}")
    after = rest.partition(END)[2]
    made = table(rows(VALUES.read_text(encoding="utf-8")))
    return f"{before}{BEGIN}\n\n{made}\n\n{END}{after}"


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
    print(TARGET.relative_to(ROOT))
