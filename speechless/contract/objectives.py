"""What a model can be trained for: a table, and what follows from it.

A new objective is a row here, its options in a member of `finetune.FineTuneSettings`, and a recipe of
speechless/finetune. The rules of the CustomResourceDefinition are made from the row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from speechless.contract.dataset import DatasetFormat
from speechless.contract.model import ContractModel, Rule


class Method(StrEnum):
    """What is trained."""

    FULL = "Full"
    LORA = "LoRA"


class Objective(StrEnum):
    """Names that code refers to. What there is, is in `OBJECTIVES`."""

    SFT = "SFT"
    DPO = "DPO"


class Dpo(ContractModel):
    """Direct preference optimization (Rafailov et al., 2023, arXiv:2305.18290)."""

    beta: Annotated[float, Field(gt=0, le=100)] = 0.1
    """How close the model stays to the one that it starts from: more is closer."""
    loss_type: Literal["sigmoid", "hinge", "ipo"] = "sigmoid"
    """sigmoid: DPO's own. hinge: SLiC's (arXiv:2305.10425). ipo: IPO's (arXiv:2310.12036), for pairs without noise."""


@dataclass(frozen=True)
class ObjectiveKind:
    """An objective. What guards something has no default: whoever adds a row has to decide it."""

    name: Objective
    text: str
    """What is learned, in one line."""
    formats: tuple[DatasetFormat, ...]
    """Of the rows that it learns from, beside Auto."""
    learning_rate: Mapping[Method, float]
    """The highest one, unless another is asked for."""
    options: str = ""
    """The member of a FineTune's settings that is for it alone (on the wire, too); empty: there is none."""
    settings: type[ContractModel] | None = None
    """The model of that member."""


_ANSWERS = tuple(
    form
    for form in DatasetFormat
    if form not in {DatasetFormat.AUTO, DatasetFormat.PREFERENCE, DatasetFormat.PROMPT}
)
OBJECTIVES: dict[Objective, ObjectiveKind] = {
    row.name: row
    for row in (
        ObjectiveKind(
            name=Objective.SFT,
            text="supervised fine-tuning, the loss on what the model should answer.",
            formats=_ANSWERS,
            learning_rate={Method.FULL: 2e-5, Method.LORA: 2e-4},
        ),
        ObjectiveKind(
            name=Objective.DPO,
            text="direct preference optimization, the better of two answers becomes more likely than the worse.",
            formats=(DatasetFormat.PREFERENCE,),
            learning_rate={Method.FULL: 1e-6, Method.LORA: 1e-5},
            options="dpo",
            settings=Dpo,
        ),
    )
}


def problem_of(objective: Objective, form: DatasetFormat, options: Mapping[str, object]) -> str | None:
    """What does not go together in a spec, if something does not; `options`: the members that are set."""
    row = OBJECTIVES[objective]
    if form is not DatasetFormat.AUTO and form not in row.formats:
        known = " or ".join(row.formats)
        return f"rows of format {form} are not what objective {objective} learns from: take {known}"
    for other in OBJECTIVES.values():
        if other.options and other is not row and options.get(other.options) is not None:
            return f"{other.options} goes with objective {other.name}: remove it, or take that objective"
    return None


def objective_rules() -> list[Rule]:
    """The same on a resource's spec (`self`)."""
    found = []
    for row in OBJECTIVES.values():
        known = ", ".join(f"'{form}'" for form in (DatasetFormat.AUTO, *row.formats))
        found.append(
            Rule(
                f"self.objective != '{row.name}' || !has(self.dataset.format) || self.dataset.format in [{known}]",
                f"rows of this format are not what objective {row.name} learns from: take {' or '.join(row.formats)}",
                ".dataset.format",
            )
        )
        if row.options:
            found.append(
                Rule(
                    f"!has(self.{row.options}) || self.objective == '{row.name}'",
                    f"{row.options} goes with objective {row.name}: remove it, or set objective: {row.name}",
                    f".{row.options}",
                )
            )
    return found
