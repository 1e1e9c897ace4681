"""What is in a dataset: how many rows, how long, how much of them is trained, what comes twice, what is wrong."""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from speechless.contract import DatasetFormat
from speechless.data.convert import row_of
from speechless.data.dataset import Looked, Looker, Placed, Problems
from speechless.data.examples import Conversation, Example, Text
from speechless.data.files import Part, Place, parts_of, read_part
from speechless.data.render import IGNORED, Tokens
from speechless.output import Document

_FENCE = re.compile(r"^ {0,3}```[ \t]*([A-Za-z0-9+#_.-]+)[^`\n]*\n", re.MULTILINE)
NAMED = 50
"""Categories and languages that are named; the others are counted together."""


class Lengths(Document):
    """How long rows are."""

    total: int
    shortest: int
    median: int
    p90: int
    """Nine of ten rows are not longer."""
    p99: int
    longest: int


class InTokens(Document):
    """The same in tokens of a model, and what would be learned."""

    lengths: Lengths
    max_length: int
    """Tokens of a row at most: longer ones lose their end."""
    truncated: int
    """Rows that are longer."""
    trained: int
    """Tokens that are learned, after the cut."""
    masked: float
    """The part of the tokens that is only read."""
    untrained: int
    """Rows of which nothing is learned after the cut: they are left out."""


class Check(Document):
    """What a dataset is."""

    files: list[Path]
    format: DatasetFormat
    rows: int
    """Bad ones included."""
    bad: int
    first_bad: list[str]
    """The first 20, with file and line."""
    duplicates: int
    """Rows whose content was there before."""
    characters: Lengths | None
    """Of what is read and learned; None: there is no good row."""
    tokens: InTokens | None
    """None: no model was named."""
    categories: dict[str, int]
    languages: dict[str, int]
    """Of code blocks, by what stands behind their fence."""


def check(
    places: Sequence[Place],
    row_format: DatasetFormat = DatasetFormat.AUTO,
    *,
    encoder: Callable[[Placed], Tokens] | None = None,
    max_length: int = 2048,
) -> tuple[Check, Placed | None]:
    """Look at every row; the first good one comes with the result.

    Memory is one row, and 24 bytes for each row of the files. StageError where a row cannot be encoded.
    """
    files = parts_of(places)
    looker, counts = Looker(row_format), _Counts(max_length)
    for looked in _look(files, looker):
        counts.take(looked, encoder)
    made = Check(
        files=[file.path for file in files],
        format=looker.format,
        rows=counts.rows,
        bad=counts.problems.count,
        first_bad=counts.problems.first,
        duplicates=_repeated(counts.prints),
        characters=_lengths(counts.characters),
        tokens=counts.in_tokens(),
        categories=_most(counts.categories),
        languages=_most(counts.languages),
    )
    return made, counts.first


def _look(files: Sequence[Part], looker: Looker) -> Iterator[Looked]:
    for file in files:
        row = False
        for line in read_part(file):
            row = True
            yield looker.look(line)
        if not row:
            yield Looked(file.name, None, "the file holds no row", None)


class _Counts:
    def __init__(self, max_length: int) -> None:
        self.rows = 0
        self.problems = Problems()
        self.first: Placed | None = None
        self.characters, self.tokens, self.prints = array("L"), array("L"), array("Q")
        self.categories: Counter[str] = Counter()
        self.languages: Counter[str] = Counter()
        self._max = max_length
        self._truncated = self._trained = self._untrained = self._kept = 0

    def take(self, looked: Looked, encoder: Callable[[Placed], Tokens] | None) -> None:
        self.rows += 1
        if looked.example is None:
            self.problems.add(looked.where, looked.problem)
            return
        row = Placed(looked.where, looked.example)
        self.first = self.first or row
        content = json.dumps(row_of(row.example), sort_keys=True, ensure_ascii=False)
        digest = hashlib.blake2b(content.encode(), digest_size=8).digest()
        self.prints.append(int.from_bytes(digest, "little"))
        words = text_of(row.example)
        self.characters.append(len(words))
        self.languages.update(name.lower() for name in _FENCE.findall(words))
        if looked.category is not None:
            self.categories[str(looked.category)] += 1
        if encoder is not None:
            self._encoded(*encoder(row))

    def _encoded(self, ids: list[int], labels: list[int]) -> None:
        self.tokens.append(len(ids))
        self._truncated += len(ids) > self._max
        # The first token is never predicted, so its label counts for nothing.
        trained = sum(label != IGNORED for label in labels[1 : self._max])
        self._trained += trained
        self._untrained += not trained
        self._kept += min(len(ids), self._max)

    def in_tokens(self) -> InTokens | None:
        lengths = _lengths(self.tokens)
        if lengths is None:
            return None
        return InTokens(
            lengths=lengths,
            max_length=self._max,
            truncated=self._truncated,
            trained=self._trained,
            masked=1 - self._trained / max(1, self._kept),
            untrained=self._untrained,
        )


def text_of(example: Example) -> str:
    """All that is read or learned of an example, as one text."""
    match example:
        case Conversation():
            return "\n".join(message.content for message in example.messages)
        case Text():
            return example.prompt + example.text
        case _:
            return json.dumps(row_of(example), ensure_ascii=False)


def _lengths(found: array[int]) -> Lengths | None:
    if not found:
        return None
    order = sorted(found)

    def at(part: float) -> int:
        return order[min(len(order) - 1, int(part * len(order)))]

    return Lengths(
        total=sum(order), shortest=order[0], median=at(0.5), p90=at(0.9), p99=at(0.99), longest=order[-1]
    )


def _repeated(prints: array[int]) -> int:
    return len(prints) - len(set(prints))


def _most(counted: Counter[str]) -> dict[str, int]:
    named = dict(counted.most_common(NAMED))
    rest = sum(counted.values()) - sum(named.values())
    return named | ({"(others)": rest} if rest else {})
