"""What of a model is trained: a table, and what follows from it.

A new method is a row here. The trainer, the plan, the flags and the rules of the CustomResourceDefinition ask the row.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Method(StrEnum):
    """What is trained."""

    FULL = "Full"
    LORA = "LoRA"


@dataclass(frozen=True)
class MethodKind:
    """A method. What guards something has no default: whoever adds a row has to decide it."""

    name: Method
    text: str
    """What is trained, in a few words."""
    adapters: bool
    """Whether adapters are trained beside weights that stay as they are; else every weight is."""


METHODS: dict[Method, MethodKind] = {
    row.name: row
    for row in (
        MethodKind(name=Method.FULL, text="every weight", adapters=False),
        MethodKind(name=Method.LORA, text="low-rank adapters", adapters=True),
    )
}
WITH_ADAPTERS = tuple(name for name, row in METHODS.items() if row.adapters)
"""The methods that train adapters."""


class Rates(NamedTuple):
    """Usual learning rates."""

    whole: float
    """Where every weight is trained."""
    adapters: float

    def of(self, method: Method) -> float:
        """That of a method."""
        return self.adapters if METHODS[method].adapters else self.whole
