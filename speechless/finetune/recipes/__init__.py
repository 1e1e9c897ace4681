"""How a model is trained, one recipe a file; and the table of them.

A recipe says which examples it learns from, how one becomes numbers, and which trainer takes the steps. Everything that
all of them share is in `harness.py`. A new objective is a module here and a row of `RECIPES`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from speechless.contract import Objective
from speechless.data import Placed
from speechless.data.examples import Conversation, Preference, Rated, Text

Columns = dict[str, list[int]]
"""What one row becomes, by the column's name: token ids, labels and their like."""


class Module(Protocol):
    """What a recipe's module has."""

    COLUMNS: tuple[str, ...]
    """The columns that a row becomes; each holds a list of integers."""
    PACKED: tuple[str, ...]
    """Those of several rows in one, where the objective knows packing."""
    METRICS: dict[str, str]
    """Metrics of the result beside the losses: name to what the trainer logs its last value as."""

    def encoder(self, tokenizer: Any) -> Callable[[Placed], Columns]:
        """What makes columns of a row; StageError names the row that cannot be."""

    def cut(self, columns: Columns, max_length: int) -> Columns | None:
        """The row within `max_length` tokens; None if nothing is left to learn from."""

    def model(self, job: Any, dtype: Any) -> Any:
        """The model of a `Job` in a `torch.dtype`, as it is before the first step."""

    def size(self, columns: Columns) -> tuple[int, int]:
        """(tokens that the model sees, tokens that it learns) of a row."""

    def asked(self, columns: Columns) -> tuple[list[int], list[int]]:
        """(what the model is asked, the answer that the row has) as token ids, where the recipe asks something."""

    def pack(self, rows: Iterable[Columns], max_length: int) -> Iterator[Columns]:
        """Several rows in one of at most `max_length` tokens, where the objective knows packing."""

    def trainer(self, run: Any, shared: Mapping[str, Any], callbacks: list[Any]) -> Any:
        """A Transformers trainer for a `harness.Run`; `shared`: arguments that all trainers take."""


@dataclass(frozen=True)
class Recipe:
    """A row of the table."""

    objective: Objective
    takes: tuple[type, ...]
    """The examples that it learns from."""
    module: str
    sequences: int
    """Sequences of one row that the model sees at once."""
    reference: bool
    """Whether the model is compared with the one that it starts from: with method Full that is a second copy."""
    whole_logits: bool = False
    """Whether its loss needs the logits of all tokens at once; TRL's newer trainers compute them in pieces."""
    asks: bool = True
    """Whether a row asks something of the model, which may be answered after the training."""

    def load(self) -> Module:
        """The module, which imports torch."""
        return cast("Module", importlib.import_module(f"{__name__}.{self.module}"))

    @property
    def taken(self) -> str:
        """What it learns from, for a message."""
        return " and ".join(_WORDS[kind] for kind in self.takes)


_WORDS: Mapping[type, str] = {
    Conversation: "conversations",
    Text: "texts",
    Preference: "pairs of answers",
    Rated: "answers with a label",
}


RECIPES = {
    recipe.objective: recipe
    for recipe in (
        Recipe(Objective.SFT, takes=(Conversation, Text), module="sft", sequences=1, reference=False),
        Recipe(Objective.DPO, takes=(Preference,), module="dpo", sequences=2, reference=True),
        # An answer, and another row's to the same prompt.
        Recipe(Objective.KTO, takes=(Rated,), module="kto", sequences=2, reference=True),
        Recipe(
            Objective.ORPO,
            takes=(Preference,),
            module="orpo",
            sequences=2,
            reference=False,
            whole_logits=True,
        ),
        Recipe(
            Objective.PRETRAIN, takes=(Text,), module="pretrain", sequences=1, reference=False, asks=False
        ),
        Recipe(
            Objective.REWARD,
            takes=(Preference,),
            module="reward",
            sequences=2,
            reference=False,
            whole_logits=True,
            asks=False,
        ),
    )
}
