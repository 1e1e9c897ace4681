"""The rows of a split as tokens and labels on disk, cut to the longest that is allowed, and counted."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechless.contract import FailureReason
from speechless.data import Placed, Survey, read_rows
from speechless.data.render import IGNORED, Tokens, encoder_for
from speechless.errors import StageError

log = logging.getLogger(__name__)


@dataclass
class Counts:
    """What became of the rows of a split."""

    rows: int = 0
    tokens: int = 0
    learned: int = 0
    """Tokens that are learned."""
    cut: int = 0
    """Rows longer than the limit: their end was cut off."""
    dropped: int = 0
    """Rows with nothing left to learn after the cut."""


def encode(
    data: Survey, tokenizer: Any, max_length: int, *, heldout: bool, scratch: Path
) -> tuple[Any, Counts]:
    """A `datasets.Dataset` with the columns input_ids and labels (lists of integers), on disk, and its counts.

    StageError(DATASET_INVALID) if no row has anything to learn.
    """
    import datasets
    from datasets.arrow_writer import ArrowWriter

    features = datasets.Features(
        {
            "input_ids": datasets.List(datasets.Value("int32")),
            "labels": datasets.List(datasets.Value("int32")),
        }
    )
    split = "heldout" if heldout else "train"
    file, counts = scratch / f"{split}.arrow", Counts()
    with ArrowWriter(path=str(file), features=features) as writer:
        rows = read_rows(data, heldout=heldout)
        for ids, labels in _within(rows, encoder_for(tokenizer), max_length, counts):
            writer.write({"input_ids": ids, "labels": labels})
        writer.finalize()
    log.info(
        "%s: %d rows, %d tokens, %d of them learned; %d rows cut at %d tokens, %d dropped: nothing left to learn",
        *(split, counts.rows, counts.tokens, counts.learned, counts.cut, max_length, counts.dropped),
    )
    if not counts.rows:
        what = f"{data.files[0].name}: no row has a token to learn within maxLength ({max_length})"
        raise StageError(FailureReason.DATASET_INVALID, what, "raise maxLength, or shorten the prompts")
    return datasets.Dataset.from_file(str(file)), counts


def _within(
    rows: Iterator[Placed], encoder: Callable[[Placed], Tokens], max_length: int, counts: Counts
) -> Iterator[Tokens]:
    """The rows' tokens, cut to `max_length`, without rows that teach nothing."""
    for row in rows:
        ids, labels = encoder(row)
        if len(ids) > max_length:
            counts.cut += 1
            ids, labels = ids[:max_length], labels[:max_length]
        # The first token is never predicted, so its label counts for nothing.
        learned = sum(label != IGNORED for label in labels[1:])
        if not learned:
            counts.dropped += 1
            continue
        counts.rows, counts.tokens, counts.learned = (
            counts.rows + 1,
            counts.tokens + len(ids),
            counts.learned + learned,
        )
        yield ids, labels
