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
from pydantic.alias_generators import to_camel

from speechless.contract.dataset import DatasetFormat
from speechless.contract.methods import METHODS, WITH_ADAPTERS, Method, Rates
from speechless.contract.model import ContractModel, Rule
from speechless.contract.modelinfo import Head


class Precision(StrEnum):
    """How the model is held and computed with while it is trained."""

    AUTO = "Auto"
    """BF16 on a GPU that computes in bfloat16, else FP32."""
    BF16 = "BF16"
    """With adapters: the frozen model in bfloat16, they in float32. Full: float32 weights, bfloat16 arithmetic."""
    FP32 = "FP32"
    PURE_BF16 = "PureBF16"
    """Weights, gradients and arithmetic in bfloat16: a whole model in half the memory, with rounder steps."""


class Packing(StrEnum):
    """Whether several rows may stand in one."""

    NEVER = "never"
    ASKED = "asked"
    """Where `hyperparameters.packing` says so."""
    ALWAYS = "always"


class Objective(StrEnum):
    """Names that code refers to. What there is, is in `OBJECTIVES`."""

    SFT = "SFT"
    DPO = "DPO"
    KTO = "KTO"
    ORPO = "ORPO"
    PRETRAIN = "Pretrain"
    REWARD = "Reward"


class Dpo(ContractModel):
    """Direct preference optimization (Rafailov et al., 2023, arXiv:2305.18290)."""

    beta: Annotated[float, Field(gt=0, le=100)] = 0.1
    """How close the model stays to the one that it starts from: more is closer."""
    loss_type: Literal["sigmoid", "hinge", "ipo"] = "sigmoid"
    """sigmoid: DPO's own. hinge: SLiC's (arXiv:2305.10425). ipo: IPO's (arXiv:2310.12036), for pairs without noise."""


class Kto(ContractModel):
    """Kahneman-Tversky optimization (Ethayarajh et al., 2024, arXiv:2402.01306)."""

    beta: Annotated[float, Field(gt=0, le=100)] = 0.1
    """How close the model stays to the one that it starts from: more is closer."""
    desirable_weight: Annotated[float, Field(gt=0, le=100)] = 1
    """The weight of good answers. With fewer good than bad ones, raise it so that both sides weigh about the same."""
    undesirable_weight: Annotated[float, Field(gt=0, le=100)] = 1
    """The weight of bad answers."""
    loss_type: Literal["kto", "apo_zero_unpaired"] = "kto"
    """kto: KTO's own. apo_zero_unpaired: APO-zero's (arXiv:2408.06266), which needs no estimate of the divergence."""


class Orpo(ContractModel):
    """Odds ratio preference optimization (Hong et al., 2024, arXiv:2403.07691)."""

    beta: Annotated[float, Field(gt=0, le=100)] = 0.1
    """The weight of the odds ratio beside the loss on the better answer; the paper's lambda."""


class Pretrain(ContractModel):
    """Causal language modelling on texts, packed."""

    from_scratch: bool = False
    """true: the model's weights are made anew, from its configuration. false: its training goes on."""


class Reward(ContractModel):
    """A reward model: one number for a text, learned from pairs of answers (Ouyang et al., 2022, arXiv:2203.02155)."""

    center_rewards_coefficient: Annotated[float, Field(ge=0, le=1)] = 0
    """How much the rewards are drawn towards a mean of 0 (arXiv:2312.09244, equation 2); 0.01 is usual."""


@dataclass(frozen=True)
class ObjectiveKind:
    """An objective. What guards something has no default: whoever adds a row has to decide it."""

    name: Objective
    text: str
    """What is learned, in one line."""
    formats: tuple[DatasetFormat, ...]
    """Of the rows that it learns from, beside Auto."""
    learning_rate: Rates
    """The highest ones, unless another is asked for."""
    options: str = ""
    """The member of a FineTune's settings that is for it alone (on the wire, too); empty: there is none."""
    settings: type[ContractModel] | None = None
    """The model of that member."""
    packing: Packing = Packing.NEVER
    """Whether several of its rows may stand in one."""
    least_batch: int = 1
    """Rows that a device takes at once, at least."""
    head: Head = Head.WORDS
    """What the model answers with that comes of it."""
    starts_from: tuple[Head, ...] = (Head.WORDS,)
    """What a model may answer with that it begins with."""
    new_weights: str = ""
    """The option that makes new weights: adapters cannot stand in for them."""


_ADAPTED = "[" + ", ".join(f"'{name}'" for name in WITH_ADAPTERS) + "]"
_JUDGED = {DatasetFormat.PREFERENCE, DatasetFormat.UNPAIRED_PREFERENCE, DatasetFormat.PROMPT}
_ANSWERS = tuple(form for form in DatasetFormat if form not in {DatasetFormat.AUTO, *_JUDGED})
OBJECTIVES: dict[Objective, ObjectiveKind] = {
    row.name: row
    for row in (
        ObjectiveKind(
            name=Objective.SFT,
            text="supervised fine-tuning, the loss on what the model should answer.",
            formats=_ANSWERS,
            learning_rate=Rates(whole=2e-5, adapters=2e-4),
            packing=Packing.ASKED,
        ),
        ObjectiveKind(
            name=Objective.DPO,
            text="direct preference optimization, the better of two answers becomes more likely than the worse.",
            formats=(DatasetFormat.PREFERENCE,),
            learning_rate=Rates(whole=1e-6, adapters=1e-5),
            options="dpo",
            settings=Dpo,
        ),
        ObjectiveKind(
            name=Objective.KTO,
            text="Kahneman-Tversky optimization, answers that are good or bad, without pairs.",
            formats=(DatasetFormat.UNPAIRED_PREFERENCE,),
            learning_rate=Rates(whole=1e-6, adapters=1e-5),
            options="kto",
            settings=Kto,
            least_batch=2,
        ),
        ObjectiveKind(
            name=Objective.ORPO,
            text="odds ratio preference optimization, fine-tuning and preference in one, without a second model.",
            formats=(DatasetFormat.PREFERENCE,),
            learning_rate=Rates(whole=8e-6, adapters=8e-5),
            options="orpo",
            settings=Orpo,
        ),
        ObjectiveKind(
            name=Objective.PRETRAIN,
            text="causal language modelling, every token of texts that are packed into blocks of maxLength.",
            formats=(DatasetFormat.TEXT, DatasetFormat.PROMPT_COMPLETION),
            learning_rate=Rates(whole=1e-5, adapters=1e-4),
            options="pretrain",
            settings=Pretrain,
            new_weights="from_scratch",
            packing=Packing.ALWAYS,
        ),
        ObjectiveKind(
            name=Objective.REWARD,
            text="a reward model, which gives the better of two answers the higher number.",
            formats=(DatasetFormat.PREFERENCE,),
            learning_rate=Rates(whole=1e-5, adapters=1e-4),
            options="reward",
            settings=Reward,
            head=Head.SCORE,
            starts_from=(Head.WORDS, Head.SCORE),
        ),
    )
}


def problem_of(
    objective: Objective, method: Method, form: DatasetFormat, batch: int, options: Mapping[str, object]
) -> str | None:
    """What does not go together in a spec, if something does not.

    `batch`: rows that a device takes at once; `options`: the members that are set.
    """
    row = OBJECTIVES[objective]
    if batch < row.least_batch:
        return (
            f"perDeviceTrainBatchSize is {batch}, and objective {objective} compares the rows of a batch: "
            f"take {row.least_batch} or more"
        )
    own = options.get(row.options) if row.options else None
    if row.new_weights and METHODS[method].adapters and own and getattr(own, row.new_weights):
        return f"{row.options}.{to_camel(row.new_weights)} goes with method {Method.FULL}: there is nothing to adapt"
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
        if row.least_batch > 1:
            field = "self.hyperparameters.perDeviceTrainBatchSize"
            found.append(
                Rule(
                    f"self.objective != '{row.name}' || {field} >= {row.least_batch}",
                    f"objective {row.name} compares the rows of a batch: take {row.least_batch} or more",
                    ".hyperparameters.perDeviceTrainBatchSize",
                )
            )
        if row.new_weights:
            option = f"{row.options}.{to_camel(row.new_weights)}"
            found.append(
                Rule(
                    f"!has(self.{row.options}) || !self.{option} || !(self.method in {_ADAPTED})",
                    f"{to_camel(row.new_weights)} goes with method {Method.FULL}: there is nothing to adapt",
                    f".{row.options}",
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
