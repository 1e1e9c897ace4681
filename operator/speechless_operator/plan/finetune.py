"""FineTune: what it adds to the plan of a job."""

from __future__ import annotations

from speechless.contract import Format, StageName
from speechless.contract.needs import TRAINING
from speechless_operator.api.finetune import FineTuneSpec
from speechless_operator.desired import stage
from speechless_operator.desired.inputs import Input
from speechless_operator.desired.objects import Object
from speechless_operator.desired.settings import Settings
from speechless_operator.plan import resolve
from speechless_operator.plan.accept import Accepted
from speechless_operator.plan.conditions import Aspect
from speechless_operator.plan.runkind import RunKind


def _data(spec: FineTuneSpec, settings: Settings) -> tuple[Input, ...]:
    return (resolve.data("dataset", spec.dataset, "spec.dataset", settings),)


def _check(spec: FineTuneSpec, model: Input, settings: Settings) -> None:
    resolve.need_format(model, (Format.HUGGING_FACE,), "a FineTune trains HuggingFace models")
    resolve.need_model(model, TRAINING[spec.objective].problem_of)


def _judge(spec: FineTuneSpec, result: Accepted) -> tuple[list[Aspect], Object]:
    return [], {}


FINE_TUNE = RunKind(
    spec=FineTuneSpec,
    stage=StageName.FINETUNE,
    model=lambda spec: spec.model,
    data=_data,
    render=stage.finetune,
    check=_check,
    judge=_judge,
)
