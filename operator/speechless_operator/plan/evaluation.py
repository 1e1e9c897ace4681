"""Evaluation: what it adds to the plan of a job, above all the verdict."""

from __future__ import annotations

from speechless.contract import Format, StageName, suites
from speechless.contract.needs import EVALUATING
from speechless_operator.api.evaluation import EvaluationSpec
from speechless_operator.api.reasons import Reason
from speechless_operator.desired import stage
from speechless_operator.desired.inputs import Input
from speechless_operator.desired.objects import Object
from speechless_operator.desired.settings import Settings
from speechless_operator.plan import resolve
from speechless_operator.plan.accept import LINE, Accepted, text
from speechless_operator.plan.conditions import Aspect
from speechless_operator.plan.gates import judge, number
from speechless_operator.plan.runkind import RunKind

SHOWN = 4
"""Metrics in status.score."""
COUNTS = frozenset({"samples", "tokens", "timeouts", "errors"})
"""What a suite counts beside its score, by the last part of a metric's name: in status.metrics, not in status.score."""


def _data(spec: EvaluationSpec, settings: Settings) -> tuple[Input, ...]:
    return tuple(
        resolve.data(f"suite/{suite.name}", suite.data, f"spec.suites[{suite.name}].data", settings)
        for suite in spec.suites
    )


def _check(spec: EvaluationSpec, model: Input, settings: Settings) -> None:
    executing = [suite.name for suite in spec.suites if suites.executes_code(suite.type)]
    if executing and not settings.allow_code_execution:
        message = (
            f"spec.suites: {', '.join(executing)}: runs what the model wrote, and the operator does not allow that "
            "(--allow-code-execution)"
        )
        raise resolve.Blocked(Reason.CODE_EXECUTION_NOT_ALLOWED, message, stalled=True)
    resolve.need_format(model, (Format.HUGGING_FACE, Format.GGUF), "an Evaluation scores whole models")
    resolve.need_model(model, EVALUATING.problem_of)


def _needed(spec: EvaluationSpec) -> tuple[str, ...]:
    return tuple(gate.metric for gate in spec.gates)


def _judge(spec: EvaluationSpec, result: Accepted) -> tuple[list[Aspect], Object]:
    metrics = result.metrics
    passed = judge(spec.gates, metrics)
    scores = [(name, value) for name, value in metrics.items() if name.rpartition("/")[2] not in COUNTS]
    score = ", ".join(f"{name} {number(value)}" for name, value in scores[:SHOWN])
    return [passed] if passed else [], {"score": text(score, LINE)} if score else {}


EVALUATION = RunKind(
    spec=EvaluationSpec,
    stage=StageName.EVALUATE,
    model=lambda spec: spec.model,
    data=_data,
    render=stage.evaluate,
    check=_check,
    judge=_judge,
    first=_needed,
)
