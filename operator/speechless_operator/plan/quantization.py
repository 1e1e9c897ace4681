"""Quantization: what it adds to the plan of a job."""

from __future__ import annotations

from speechless.contract import Format, StageName
from speechless.contract.needs import QUANTIZING
from speechless_operator.api.quantization import QuantizationSpec
from speechless_operator.desired import stage
from speechless_operator.desired.inputs import Input
from speechless_operator.desired.objects import Object
from speechless_operator.desired.settings import Settings
from speechless_operator.plan import resolve
from speechless_operator.plan.accept import Accepted
from speechless_operator.plan.conditions import Aspect
from speechless_operator.plan.runkind import RunKind


def _data(spec: QuantizationSpec, settings: Settings) -> tuple[Input, ...]:
    if spec.verify is None:
        return ()
    return (resolve.data("verify", spec.verify.text, "spec.verify.text", settings),)


def _check(spec: QuantizationSpec, model: Input, settings: Settings) -> None:
    resolve.need_format(model, (Format.HUGGING_FACE,), "a Quantization starts from HuggingFace models")
    resolve.need_model(model, QUANTIZING.problem_of)


def _judge(spec: QuantizationSpec, result: Accepted) -> tuple[list[Aspect], Object]:
    return [], {}


QUANTIZATION = RunKind(
    spec=QuantizationSpec,
    stage=StageName.QUANTIZE,
    model=lambda spec: spec.model,
    data=_data,
    render=stage.quantize,
    check=_check,
    judge=_judge,
)
