"""What work takes of a model: a table. A stage checks its model by it before anything is loaded.

What an engine serves is in its own row (`engines.ENGINES`); an evaluation takes what its engines serve.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from speechless.contract.artifact import Format
from speechless.contract.engines import ENGINES, Engine, ServeEngine
from speechless.contract.evaluate import EvaluateSpec
from speechless.contract.finetune import FineTuneSpec
from speechless.contract.modelinfo import Head, ModelInfo, QuantizationInfo
from speechless.contract.objectives import OBJECTIVES
from speechless.contract.quantize import QuantizeSpec

FLOATS = "weights as bfloat16, float16 or float32"
_INSTEAD = {
    Format.ADAPTER: "merge the adapter into its base model (FineTune: merge: true)",
    Format.HUGGING_FACE: "quantize the model",
    Format.GGUF: "name the model that it was made from",
}
"""What to do with a model of this format where another is wanted."""


class Problem(NamedTuple):
    """Why a model does not fit."""

    what: str
    """To be written behind the model's name and a colon."""
    hint: str


@dataclass(frozen=True)
class Need:
    """What some work takes. Nothing has a default: whoever adds a row has to decide it."""

    work: str
    """Subject and verb of a sentence: `training takes`."""
    takes: Mapping[Format, tuple[str, ...]]
    """The formats, each with the methods of quantization that are taken beside none."""
    heads: tuple[Head, ...]
    """What a model may answer with."""

    def problem_of(self, form: Format, info: ModelInfo | None) -> Problem | None:
        """Why a model does not fit, and what to do; None if it does, as far as it is known.

        >>> AWQ = ModelInfo(quantization=QuantizationInfo(method="awq", bits=4))
        >>> need = Need("training takes", {Format.HUGGING_FACE: ()}, (Head.WORDS,))
        >>> need.problem_of(Format.HUGGING_FACE, AWQ).what
        'its weights are quantized already (awq, 4 bits), training takes weights as bfloat16, float16 or float32'
        """
        if form not in self.takes:
            wanted = " or ".join(self.takes)
            hint = _INSTEAD.get(form, f"name a {wanted} model")
            return Problem(f"its format is {form}, {self.work} {wanted}", hint)
        if info is None:
            return None
        if info.adapter and form is not Format.ADAPTER:
            what = f"it is an adapter ({info.adapter.type}), {self.work} whole models"
            return Problem(what, _INSTEAD[Format.ADAPTER])
        if info.head and info.head not in self.heads:
            return self._judging(info, info.head)
        if info.quantization and info.quantization.method not in self.takes[form]:
            return self._quantized(self.takes[form], info, info.quantization)
        return None

    def _judging(self, info: ModelInfo, head: Head) -> Problem:
        kind = head.removesuffix("s") + (f", {info.architecture}" if info.architecture else "")
        base = f", {info.base_model.name}" if info.base_model else ""
        return Problem(
            f"it is no model that writes ({kind}), {self.work} {' and '.join(self.heads)}",
            f"take the language model that it was made from{base}",
        )

    def _quantized(self, methods: tuple[str, ...], info: ModelInfo, found: QuantizationInfo) -> Problem:
        wanted = f"{', '.join(methods)} or {FLOATS}" if methods else FLOATS
        base = f", {info.base_model.name}" if info.base_model else ""
        return Problem(
            f"its weights are quantized already ({found.said()}), {self.work} {wanted}",
            f"take the model that it was made from{base}: one with {FLOATS}",
        )


TRAINING = {
    row.name: Need("training takes", {Format.HUGGING_FACE: ()}, row.starts_from)
    for row in OBJECTIVES.values()
}
QUANTIZING = Need("quantizing takes", {Format.HUGGING_FACE: (), Format.GGUF: ()}, (Head.WORDS,))
EVALUATING = Need(
    "evaluating takes",
    {
        Format.HUGGING_FACE: ENGINES[ServeEngine.TRANSFORMERS].quantizations,
        Format.GGUF: ENGINES[ServeEngine.LLAMA_CPP].quantizations,
    },
    (Head.WORDS,),
)


def need_of(spec: FineTuneSpec | EvaluateSpec | QuantizeSpec) -> Need:
    """What a stage takes as its `model`. To fetch needs none: it copies whatever it is. Serving: `serving_problem`."""
    match spec:
        case FineTuneSpec():
            return TRAINING[spec.objective]
        case EvaluateSpec():
            return EVALUATING
        case QuantizeSpec():
            return QUANTIZING


def serving_problem(engine: Engine, form: Format, info: ModelInfo | None) -> Problem | None:
    """Why an engine does not serve a model, and which one does; None if it does, as far as it is known."""
    problem = engine_need(engine).problem_of(form, info)
    if problem is None:
        return None
    others = [row.name for row in ENGINES.values() if engine_need(row).problem_of(form, info) is None]
    return Problem(
        problem.what, "; or ".join([problem.hint, *(f"choose the engine {name}" for name in others)])
    )


def engine_need(engine: Engine) -> Need:
    """What an engine serves."""
    return Need(f"{engine.name} serves", dict.fromkeys(engine.formats, engine.quantizations), (Head.WORDS,))
