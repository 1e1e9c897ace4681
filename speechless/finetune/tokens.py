"""The rows of a split as the numbers that a recipe makes of them: on disk, within the longest length, and counted."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from speechless.contract import FailureReason
from speechless.data import Placed, read_rows
from speechless.errors import StageError
from speechless.finetune.job import Job
from speechless.finetune.recipes import Columns, Recipe

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


def encode(job: Job, recipe: Recipe, tokenizer: Any, *, heldout: bool) -> tuple[Any, Counts]:
    """A `datasets.Dataset` with the recipe's columns (lists of integers), on disk, and its counts.

    StageError(DATASET_INVALID) if the recipe does not learn from such rows, or no row has anything to learn.
    """
    import datasets
    from datasets.arrow_writer import ArrowWriter

    columns = recipe.load().COLUMNS
    features = datasets.Features({name: datasets.List(datasets.Value("int32")) for name in columns})
    split = "heldout" if heldout else "train"
    file, counts = job.scratch / f"{split}.arrow", Counts()
    max_length = job.hyperparameters.max_length
    with ArrowWriter(path=str(file), features=features) as writer:
        for row in _within(read_rows(job.data, heldout=heldout), recipe, tokenizer, max_length, counts):
            writer.write(row)
        writer.finalize()
    log.info(
        "%s: %d rows, %d tokens, %d of them learned; %d rows cut at %d tokens, %d dropped: nothing left to learn",
        *(split, counts.rows, counts.tokens, counts.learned, counts.cut, max_length, counts.dropped),
    )
    if not counts.rows:
        what = f"{job.data.files[0].name}: no row has a token to learn within maxLength ({max_length})"
        raise StageError(FailureReason.DATASET_INVALID, what, "raise maxLength, or shorten the prompts")
    return datasets.Dataset.from_file(str(file)), counts


def _within(
    rows: Iterator[Placed], recipe: Recipe, tokenizer: Any, max_length: int, counts: Counts
) -> Iterator[Columns]:
    """The rows' columns, cut to `max_length` tokens, without rows that teach nothing."""
    module = recipe.load()
    encoder = module.encoder(tokenizer)
    for row in rows:
        if not isinstance(row.example, recipe.takes):
            what = f"{row.where}: a row of the kind {type(row.example).__name__}"
            hint = f"the objective {recipe.objective} takes {recipe.taken}"
            raise StageError(FailureReason.DATASET_INVALID, what, hint)
        whole = encoder(row)
        kept = module.cut(whole, max_length)
        counts.cut += kept != whole
        if kept is None:
            counts.dropped += 1
            continue
        seen, learned = module.size(kept)
        counts.rows, counts.tokens = counts.rows + 1, counts.tokens + seen
        counts.learned += learned
        yield kept
