"""Parts of a text as tokens: which token ids of the whole text lie in them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from speechless.contract import FailureReason
from speechless.data.turns import Span
from speechless.errors import StageError

IGNORED = -100
"""The label of a token that is not learned (PyTorch's `ignore_index`)."""
Tokens = tuple[list[int], list[int]]
"""(ids, labels), of the same length."""


def encode(tokenizer: Any, text: str, learned: Sequence[Span], where: str) -> Tokens:
    """A text that holds its special tokens already, as ids and labels; `learned`: parts in their order.

    The whole text is tokenized once. A token across the border of a part is learned if all that it has outside the part
    is white space: the blank before a first word, for one. Otherwise it is not.

    A tokenizer that does not tell its tokens' places is asked for the text up to each border. StageError
    (DATASET_INVALID) with the row's place (`where`) if those tokens are not the ones that the whole text begins with.
    """
    if tokenizer.is_fast:
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids: list[int] = encoded["input_ids"]
        ranges = _by_offsets(text, encoded["offset_mapping"], learned)
    else:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        ranges = [
            (
                _by_beginning(tokenizer, text, ids, part.start, where),
                _by_beginning(tokenizer, text, ids, part.end, where),
            )
            for part in learned
        ]
    labels = [IGNORED] * len(ids)
    for start, end in ranges:
        labels[start:end] = ids[start:end]
    return ids, labels


def _by_offsets(
    text: str, offsets: Sequence[tuple[int, int]], parts: Sequence[Span]
) -> list[tuple[int, int]]:
    """Of each part, its first token and the one behind its last."""
    ends = list(accumulate((end for _, end in offsets), max))
    found = []
    for part in parts:
        first, behind = bisect_right(ends, part.start), bisect_right(ends, part.end)
        if behind < len(ends) and offsets[behind][0] < part.end and _blank(text, part.end, ends[behind]):
            behind += 1
        while first < behind and not _blank(text, offsets[first][0], part.start):
            first += 1
        found.append((first, behind))
    return found


def _blank(text: str, start: int, end: int) -> bool:
    return not text[start:end].strip()


def _by_beginning(tokenizer: Any, text: str, ids: list[int], border: int, where: str) -> int:
    """How many of the tokens lie before a border."""
    before: list[int] = tokenizer(text[:border], add_special_tokens=False)["input_ids"]
    if ids[: len(before)] != before:
        around = text[max(0, border - 8) : border + 8]
        what = f"{where}: the tokenizer tells no places of its tokens, and one may lie across {around!r}"
        hint = "bring the tokenizer as tokenizer.json, or end turns with special tokens"
        raise StageError(FailureReason.DATASET_INVALID, what, hint)
    return len(before)
