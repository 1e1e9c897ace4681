"""Several rows in one, without one seeing another: each has positions of its own, which begin at 0."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from speechless.data.masks import IGNORED

POSITIONS = "position_ids"
"""The column that a packed row has beside `input_ids` and `labels`."""
Row = dict[str, list[int]]


def best_fit(rows: Iterable[Row], max_length: int) -> Iterator[Row]:
    """Rows in blocks of at most `max_length` tokens, each with positions of its own: best fit, the longest first.

    Where positions begin again, Transformers lets no token see one before it. The first token of a row is predicted by
    none, so it has no label.
    """
    blocks: list[list[Row]] = []
    room: list[int] = []
    for row in sorted(rows, key=lambda row: -len(row["input_ids"])):
        length = len(row["input_ids"])
        fits = [place for place, left in enumerate(room) if left >= length]
        if fits:
            place = min(fits, key=lambda each: (room[each], each))
            blocks[place].append(row)
            room[place] -= length
        else:
            blocks.append([row])
            room.append(max_length - length)
    for block in blocks:
        yield {
            "input_ids": [token for row in block for token in row["input_ids"]],
            "labels": [label for row in block for label in (IGNORED, *row["labels"][1:])],
            POSITIONS: [place for row in block for place in range(len(row["input_ids"]))],
        }


class Collator:
    """A batch of packed rows: (1, tokens of all) where attention goes by positions, else (rows, longest)."""

    def __init__(self, tokenizer: Any, model: Any) -> None:
        """Take what pads a row, and the model, whose attention decides the shape."""
        self._fill = {"input_ids": tokenizer.pad_token_id or 0, "labels": IGNORED, POSITIONS: 0}
        self._flat = model.config._attn_implementation == "flash_attention_2"

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Tensors of integers by column."""
        import torch

        if self._flat:
            return {name: torch.tensor([[n for row in rows for n in row[name]]]) for name in self._fill}
        longest = max(len(row["input_ids"]) for row in rows)
        return {
            name: torch.tensor([row[name] + [value] * (longest - len(row[name])) for row in rows])
            for name, value in self._fill.items()
        }
