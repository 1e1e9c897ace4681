"""What of a training's settings does not go together: said once, for a spec, for flags and for the resource."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from speechless.contract.methods import METHODS, QUANTIZED, WITH_ADAPTERS, Method, Qlora
from speechless.contract.model import Rule
from speechless.contract.modelinfo import Head
from speechless.contract.objectives import OBJECTIVES, Objective, Packing, Precision

if TYPE_CHECKING:
    from speechless.contract.finetune import FineTuneSettings

_H = "self.hyperparameters"


@dataclass(frozen=True)
class Conflict:
    """Settings that do not go together. `held_out`: whether rows are held out."""

    field: str
    """The field that is to be changed, by the wire's name, below the spec."""
    message: str
    breaks: Callable[[FineTuneSettings, bool], bool]
    cel: str
    """The same on a resource's spec (`self`): true where all is well."""


def _packs(objective: Objective) -> bool:
    return OBJECTIVES[objective].packing is not Packing.NEVER


_PACKING = [row.name for row in OBJECTIVES.values() if row.packing is not Packing.NEVER]
_WRITING = [row.name for row in OBJECTIVES.values() if row.head is Head.WORDS]
_CUT = [row.name for row in OBJECTIVES.values() if row.packing is not Packing.ALWAYS]
"""Where every row is packed, a long one goes on in the next block."""
_GROUPED = [row.name for row in OBJECTIVES.values() if row.packing is Packing.ASKED]
"""Packed rows have one length; the trainers of the others look for rows of one sequence."""


def _cel(names: Sequence[Objective | Method]) -> str:
    return "[" + ", ".join(f"'{name}'" for name in names) + "]"


_ADAPTING, _QUANTIZED = " or ".join(WITH_ADAPTERS), " or ".join(QUANTIZED)
CONFLICTS = (
    Conflict(
        field="hyperparameters.packing",
        message=f"packing goes with objective {' or '.join(_PACKING)}: other rows cannot stand in one",
        breaks=lambda spec, _: spec.hyperparameters.packing and not _packs(spec.objective),
        cel=f"!{_H}.packing || self.objective in {_cel(_PACKING)}",
    ),
    Conflict(
        field="hyperparameters.groupByLength",
        message=f"groupByLength goes with objective {' or '.join(_GROUPED)} and without packing",
        breaks=lambda spec, _: (
            spec.hyperparameters.group_by_length
            and (spec.hyperparameters.packing or spec.objective not in _GROUPED)
        ),
        cel=f"!{_H}.groupByLength || (self.objective in {_cel(_GROUPED)} && !{_H}.packing)",
    ),
    Conflict(
        field="hyperparameters.warmupRatio",
        message="warmupRatio and warmupSteps say the same: remove one of them",
        breaks=lambda spec, _: bool(spec.hyperparameters.warmup_ratio and spec.hyperparameters.warmup_steps),
        cel=f"!has({_H}.warmupRatio) || {_H}.warmupSteps == 0",
    ),
    Conflict(
        field="hyperparameters.longRows",
        message=f"longRows goes with objective {', '.join(_CUT)}: of other objectives no row is too long",
        breaks=lambda spec, _: spec.hyperparameters.long_rows != "Cut" and spec.objective not in _CUT,
        cel=f"{_H}.longRows == 'Cut' || self.objective in {_cel(_CUT)}",
    ),
    Conflict(
        field="hyperparameters.evalSteps",
        message="evalSteps needs held-out rows: set dataset.evalFraction",
        breaks=lambda spec, held_out: bool(spec.hyperparameters.eval_steps) and not held_out,
        cel=f"!has({_H}.evalSteps) || self.dataset.evalFraction > 0.0",
    ),
    Conflict(
        field="hyperparameters.earlyStoppingPatience",
        message="earlyStoppingPatience needs held-out rows: set dataset.evalFraction",
        breaks=lambda spec, held_out: bool(spec.hyperparameters.early_stopping_patience) and not held_out,
        cel=f"!has({_H}.earlyStoppingPatience) || self.dataset.evalFraction > 0.0",
    ),
    Conflict(
        field="hyperparameters.loadBestModelAtEnd",
        message="loadBestModelAtEnd needs held-out rows: set dataset.evalFraction",
        breaks=lambda spec, held_out: spec.hyperparameters.load_best_model_at_end and not held_out,
        cel=f"!{_H}.loadBestModelAtEnd || self.dataset.evalFraction > 0.0",
    ),
    Conflict(
        field="tracking.runName",
        message="runName is for trackers, and none is named: set tracking.reportTo, or remove it",
        breaks=lambda spec, _: spec.tracking.run_name is not None and not spec.tracking.report_to,
        cel="!has(self.tracking.runName) || (has(self.tracking.reportTo) && size(self.tracking.reportTo) > 0)",
    ),
    Conflict(
        field="lora",
        message=f"lora goes with method {_ADAPTING}: remove lora, or set method: {Method.LORA}",
        breaks=lambda spec, _: spec.lora is not None and not METHODS[spec.method].adapters,
        cel=f"!has(self.lora) || self.method in {_cel(WITH_ADAPTERS)}",
    ),
    Conflict(
        field="experts",
        message=f"experts go with method {_ADAPTING} and without lora: they are adapters of their own",
        breaks=lambda spec, _: (
            spec.experts is not None and (spec.lora is not None or not METHODS[spec.method].adapters)
        ),
        cel=f"!has(self.experts) || (!has(self.lora) && self.method in {_cel(WITH_ADAPTERS)})",
    ),
    Conflict(
        field="experts.topK",
        message="experts.topK is more than experts.numExperts: a token cannot be sent to more than there are",
        breaks=lambda spec, _: spec.experts is not None and spec.experts.top_k > spec.experts.num_experts,
        cel="!has(self.experts) || self.experts.topK <= self.experts.numExperts",
    ),
    Conflict(
        field="objective",
        message=f"experts go with objective {', '.join(_WRITING)}: the model that they become writes texts",
        breaks=lambda spec, _: spec.experts is not None and spec.objective not in _WRITING,
        cel=f"!has(self.experts) || self.objective in {_cel(_WRITING)}",
    ),
    Conflict(
        field="tokenizer.addReasoningTokens",
        message="addReasoningTokens trains rows of the embedding, which experts leave as they are: remove one of them",
        breaks=lambda spec, _: spec.experts is not None and spec.tokenizer.add_reasoning_tokens,
        cel="!has(self.experts) || !self.tokenizer.addReasoningTokens",
    ),
    Conflict(
        field="tokenizer.promptType",
        message="promptType and chatTemplate both say how messages become text: remove one of them",
        breaks=lambda spec, _: (
            spec.tokenizer.prompt_type is not None and spec.tokenizer.chat_template is not None
        ),
        cel="!has(self.tokenizer.promptType) || !has(self.tokenizer.chatTemplate)",
    ),
    Conflict(
        field="precision",
        message=f"precision PureBF16 is not for method {_QUANTIZED}, whose weights are quantized: set Auto or BF16",
        breaks=lambda spec, _: spec.precision is Precision.PURE_BF16 and METHODS[spec.method].quantized,
        cel=f"self.precision != '{Precision.PURE_BF16}' || !(self.method in {_cel(QUANTIZED)})",
    ),
    *(
        Conflict(
            field=row.options,
            message=f"{row.options} goes with method {row.name}: remove {row.options}, or set method: {row.name}",
            breaks=lambda spec, _, row=row: (  # type: ignore[misc]
                getattr(spec, row.options) is not None and spec.method is not row.name
            ),
            cel=f"!has(self.{row.options}) || self.method == '{row.name}'",
        )
        for row in METHODS.values()
        if row.options
    ),
    Conflict(
        field="qlora.bits",
        message="qlora.quantType and qlora.doubleQuant are of 4 bits: remove them, or set qlora.bits: 4",
        breaks=lambda spec, _: (
            spec.qlora is not None
            and spec.qlora.bits != Qlora().bits
            and spec.qlora != Qlora(bits=spec.qlora.bits)
        ),
        cel="!has(self.qlora) || self.qlora.bits == 4 || (self.qlora.quantType == 'nf4' && self.qlora.doubleQuant)",
    ),
    Conflict(
        field="ropeScaling",
        message="ropeScaling is told in a whole model's config.json, and merge: false publishes an adapter: remove one",
        breaks=lambda spec, _: spec.rope_scaling is not None and not spec.merge,
        cel="!has(self.ropeScaling) || self.merge",
    ),
    Conflict(
        field="merge",
        message=f"merge: false publishes an adapter, which method {_ADAPTING} makes: remove merge, or set that method",
        breaks=lambda spec, _: not spec.merge and not METHODS[spec.method].adapters,
        cel=f"self.method in {_cel(WITH_ADAPTERS)} || self.merge",
    ),
)


def conflict_of(spec: FineTuneSettings, *, held_out: bool) -> Conflict | None:
    """The first settings that do not go together, if any."""
    return next((one for one in CONFLICTS if one.breaks(spec, held_out)), None)


def training_rules() -> list[Rule]:
    """The same on a resource's spec."""
    return [Rule(one.cel, one.message, f".{one.field}") for one in CONFLICTS]
