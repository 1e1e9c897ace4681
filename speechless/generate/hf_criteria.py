"""When each row of a batch is done, for Transformers' generate. Imports torch: import it where it is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from transformers import StoppingCriteria

from speechless.generate.stop import first_stop


class Decoder(Protocol):
    """What the criteria need of the back end."""

    def _decode(self, ids: Sequence[int]) -> str: ...


class Watch(StoppingCriteria):
    """Ends a row at its own budget of tokens or at a stop string, all rows when `stopping` says so."""

    def __init__(
        self,
        decoder: Decoder,
        prompt_width: int,
        budgets: Sequence[int],
        stops: Sequence[str],
        stopping: Callable[[], bool],
        follow: Callable[[list[int]], None] | None,
    ) -> None:
        """One budget of tokens a row; `follow` gets the first row's new tokens after each step."""
        self.decoder = decoder
        self.width = prompt_width
        self.budgets = budgets
        self.stops = stops
        self.stopping = stopping
        self.follow = follow
        # A token holds a byte at least, so a stop string that a new token completes lies within so many.
        self.window = max((len(stop.encode()) for stop in stops), default=0) + 8
        self.done = [False] * len(budgets)

    def __call__(self, input_ids: torch.LongTensor, scores: Any, **_kwargs: Any) -> torch.BoolTensor:
        """One answer a row; input_ids: (rows, prompt and tokens so far)."""
        made = input_ids.shape[1] - self.width
        if self.follow is not None:
            self.follow(input_ids[0, self.width :].tolist())
        everything = self.stopping()
        for row, budget in enumerate(self.budgets):
            if not self.done[row]:
                self.done[row] = everything or made >= budget or self._stopped(input_ids[row])
        return torch.tensor(self.done, device=input_ids.device)

    def _stopped(self, ids: torch.Tensor) -> bool:
        if not self.stops:
            return False
        tail = ids[max(self.width, ids.shape[0] - self.window) :].tolist()
        return first_stop(self.decoder._decode(tail), self.stops) is not None
