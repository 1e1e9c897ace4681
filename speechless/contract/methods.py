"""What of a model is trained: a table, and what follows from it.

A new method is a row here. The trainer, the plan, the flags and the rules of the CustomResourceDefinition ask the row.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple

from speechless.contract.model import ContractModel


class Method(StrEnum):
    """What is trained."""

    FULL = "Full"
    LORA = "LoRA"
    QLORA = "QLoRA"


class Qlora(ContractModel):
    """How the weights that are not trained are held, by bitsandbytes: those of linear layers but the output's."""

    bits: Literal[4, 8] = 4
    """4: blocks of 64 weights with a scale (QLoRA, arXiv:2305.14314). 8: rows with a scale, outliers of the input
    computed apart (LLM.int8(), arXiv:2208.07339)."""
    quant_type: Literal["nf4", "fp4"] = "nf4"
    """The 16 values of 4 bits. nf4: those that normally distributed weights need. fp4: a float of 4 bits."""
    double_quant: bool = True
    """Of 4 bits: the scales are quantized, too, which saves 0.37 bits a weight."""


@dataclass(frozen=True)
class MethodKind:
    """A method. What guards something has no default: whoever adds a row has to decide it."""

    name: Method
    text: str
    """What is trained, in a few words."""
    adapters: bool
    """Whether adapters are trained beside weights that stay as they are; else every weight is."""
    quantized: bool
    """Whether those weights are held in fewer bits."""
    options: str = ""
    """The member of a FineTune's settings that is for it alone (on the wire, too); empty: there is none."""


METHODS: dict[Method, MethodKind] = {
    row.name: row
    for row in (
        MethodKind(name=Method.FULL, text="every weight", adapters=False, quantized=False),
        MethodKind(name=Method.LORA, text="low-rank adapters", adapters=True, quantized=False),
        MethodKind(
            name=Method.QLORA,
            text="low-rank adapters on a model that is held in 4 or 8 bits",
            adapters=True,
            quantized=True,
            options="qlora",
        ),
    )
}
WITH_ADAPTERS = tuple(name for name, row in METHODS.items() if row.adapters)
"""The methods that train adapters."""
QUANTIZED = tuple(name for name, row in METHODS.items() if row.quantized)
"""Those that hold the other weights in fewer bits."""


class Rates(NamedTuple):
    """Usual learning rates."""

    whole: float
    """Where every weight is trained."""
    adapters: float

    def of(self, method: Method) -> float:
        """That of a method."""
        return self.adapters if METHODS[method].adapters else self.whole
