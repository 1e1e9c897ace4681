"""Examples become columns of numbers, a chunk at a time; `rows_main.py` is a process that does it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from speechless.contract import FailureReason, Objective
from speechless.contract.objectives import OBJECTIVES, Packing
from speechless.data import Placed
from speechless.data.examples import Conversation, Example, Preference, Rated
from speechless.errors import StageError
from speechless.finetune.job import Counts
from speechless.finetune.recipes import RECIPES, Columns

_NO_LIMIT = 1 << 40


@dataclass(frozen=True)
class Encoding:
    """How rows become numbers: all that decides it, but for the rows."""

    tokenizer: Path
    """Its folder."""
    objective: Objective
    max_length: int
    """Tokens of a row."""
    skip: bool = False
    """A row that cannot be encoded is left out and counted; without it, it ends the work."""
    packing: bool = False
    """Several rows in one, where the objective knows how."""
    remove: bool = False
    """A row that is longer than the limit is left out, not cut."""
    by_row: bool = False
    """A row that names a prompt type is rendered by that, and not by the tokenizer's chat template."""


class Chunk(NamedTuple):
    """What became of some rows."""

    given: int
    """How many there were."""
    batch: bytes
    """An Arrow stream of one record batch: a list of int32 a column."""
    counts: Counts
    refused: tuple[str, ...] = ()
    """Of rows that were left out: where they stand, and why."""


class Refused(NamedTuple):
    """A StageError on its way to another process."""

    reason: FailureReason
    message: str
    hint: str


class Encoder:
    """Makes columns of examples, one chunk after the other."""

    def __init__(self, encoding: Encoding, tokenizer: Any) -> None:
        """Take what to do, and the tokenizer of the model."""
        self._recipe = RECIPES[encoding.objective]
        self._module = self._recipe.load()
        self._encoding = encoding
        how = OBJECTIVES[encoding.objective].packing
        self._packs = how is Packing.ALWAYS or (encoding.packing and how is Packing.ASKED)
        self._encode = self._module.encoder(tokenizer)

    def chunk(self, rows: Sequence[Placed]) -> Chunk:
        """What becomes of them. Errors as of `columns`."""
        kept, refused = list[Columns](), list[str]()
        seen = learned = cut = removed = dropped = conversations = 0
        for row in rows:
            whole = self.columns(row)
            if isinstance(whole, str):
                refused.append(whole)
                continue
            short = self._module.cut(whole, self._encoding.max_length)
            if self._encoding.remove and short != self._module.cut(whole, _NO_LIMIT):
                removed += 1
                continue
            cut += short != whole
            if short is None:
                dropped += 1
                continue
            size = self._module.size(short)
            seen, learned = seen + size[0], learned + size[1]
            conversations += uses_template(row.example)
            kept.append(short)
        if self._packs:
            kept = list(self._module.pack(kept, self._encoding.max_length))
            sizes = [self._module.size(row) for row in kept]
            seen, learned = sum(size[0] for size in sizes), sum(size[1] for size in sizes)
        counts = Counts(
            rows=len(kept),
            tokens=seen,
            learned=learned,
            cut=cut,
            removed=removed,
            dropped=dropped,
            conversations=conversations,
            bad=len(refused),
        )
        return Chunk(len(rows), self._arrow(kept), counts, tuple(refused))

    def columns(self, row: Placed) -> Columns | str:
        """A row's columns, not cut yet; or, where such rows are skipped, why it is left out.

        StageError(DATASET_INVALID) names a row that cannot be encoded. A row of a kind that the objective does not
        learn from is never skipped: it is not the row that is wrong.
        """
        if not isinstance(row.example, self._recipe.takes):
            what = f"{row.where}: a row of the kind {type(row.example).__name__}"
            hint = f"the objective {self._recipe.objective} takes {self._recipe.taken}"
            raise StageError(FailureReason.DATASET_INVALID, what, hint)
        if not self._encoding.by_row and isinstance(row.example, Conversation) and row.example.prompt_type:
            row = row._replace(example=replace(row.example, prompt_type=None))
        try:
            return self._encode(row)
        except StageError as error:
            if not self._encoding.skip or error.reason is not FailureReason.DATASET_INVALID:
                raise
            return error.message

    def _arrow(self, kept: Sequence[Columns]) -> bytes:
        import pyarrow as pa

        names = self._module.PACKED if self._packs else self._module.COLUMNS
        arrays = [pa.array([row[name] for row in kept], pa.list_(pa.int32())) for name in names]
        batch = pa.record_batch(arrays, names=list(names))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        return bytes(sink.getvalue().to_pybytes())


def uses_template(example: Example) -> bool:
    """Whether an example goes through the chat template."""
    match example:
        case Rated():
            return uses_template(example.answer)
        case Preference():
            return not isinstance(example.prompt, str)
        case _:
            return isinstance(example, Conversation)
