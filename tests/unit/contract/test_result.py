"""A result always fits the termination message, whatever is in it, and a reader takes what it can."""

from __future__ import annotations

import json
import math

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, example, given, settings

from speechless.contract import (
    TERMINATION_MESSAGE_LIMIT,
    Artifact,
    Failure,
    FailureReason,
    Format,
    InputRecord,
    Metric,
    ModelInfo,
    Outcome,
    Progress,
    QuantizationInfo,
    StageResult,
)

DIGEST = "sha256:" + "a" * 64
TEXT = st.text(st.characters(codec=None, categories=None), max_size=40)
"""Any character there is: control characters, halves of surrogate pairs, emoji."""
LONG = st.one_of(TEXT, st.integers(1, 3000).map(lambda n: "\x01" * n), st.integers(1, 3000).map("x".__mul__))
NAMES = LONG.filter(bool)
NUMBERS = st.one_of(st.floats(), st.integers(-(2**70), 2**70).map(float))
METRICS = st.lists(st.builds(Metric, name=NAMES, value=NUMBERS), max_size=48).map(tuple)
INPUTS = st.lists(
    st.builds(
        InputRecord,
        name=st.sampled_from(["model", "dataset", *(f"suite/{'s' * 60}{n}" for n in range(16))]),
        uri=st.integers(1, 2000).map(lambda n: "pvc://c/" + "p" * n),
        digest=st.just(DIGEST),
    ),
    max_size=18,
).map(tuple)
LARGEST_MODEL = ModelInfo(
    architecture="A" * 64,
    parameters=2**63 - 1,
    quantization=QuantizationInfo(method="m" * 64, type="t" * 64, bits=1 / 3, group_size=2**63 - 1),
)
"""A summary cannot be longer."""
ARTIFACTS = st.builds(
    Artifact,
    uri=st.integers(1, 1100).map(lambda n: "pvc://c/" + "p" * n),
    digest=st.just(DIGEST),
    size_bytes=st.integers(0, 2**63),
    format=st.sampled_from(Format),
    model=st.none() | st.just(LARGEST_MODEL),
)
RESULTS = st.builds(
    StageResult,
    outcome=st.sampled_from(Outcome),
    artifact=st.none() | ARTIFACTS,
    inputs=INPUTS,
    metrics=METRICS,
    failure=st.none() | st.builds(Failure, reason=st.sampled_from(FailureReason), message=LONG, hint=LONG),
    seconds=st.floats(0, 1e9),
    seed=st.none() | st.integers(),
    versions=st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=300), LONG, max_size=40),
)


def score(number: int, suite: str = "s") -> Metric:
    return Metric(name=f"{suite}/{'m' * 90}{number}", value=number / 7)


@given(RESULTS, st.lists(st.text(max_size=128), max_size=32).map(tuple))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(StageResult(outcome=Outcome.SUCCEEDED, seed=10**4200), ())
def test_a_result_fits_and_can_be_read(result: StageResult, judged: tuple[str, ...]) -> None:
    text = result.termination_message(judged)
    assert len(text.encode()) <= TERMINATION_MESSAGE_LIMIT
    read = StageResult.model_validate_json(text)
    assert read.outcome is result.outcome or read.failure
    if result.failure and read.outcome is Outcome.FAILED:
        assert read.failure
        assert read.failure.reason is result.failure.reason
    if result.artifact and read.outcome is result.outcome:
        assert read.artifact
        assert read.artifact.model in (result.artifact.model, None)
        assert read.artifact.model_copy(update={"model": result.artifact.model}) == result.artifact


@given(ARTIFACTS, INPUTS, METRICS, st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_gates_need_is_never_cut(
    artifact: Artifact, inputs: tuple[InputRecord, ...], metrics: tuple[Metric, ...], data: st.DataObject
) -> None:
    first: dict[str, float] = {}
    for metric in metrics:
        if math.isfinite(metric.value):
            first.setdefault(metric.name, metric.value)
    judged = data.draw(
        st.lists(st.sampled_from([*first, "not measured"]), unique=True, max_size=32).map(tuple)
    )
    known = tuple(metric for metric in metrics if math.isfinite(metric.value))
    result = StageResult(outcome=Outcome.SUCCEEDED, artifact=artifact, inputs=inputs, metrics=known)

    read = StageResult.model_validate_json(result.termination_message(judged))

    told = read.measured(judged)
    assert {name: told.get(name) for name in judged} == {name: first.get(name) for name in judged}
    assert [found.digest for found in read.inputs if found.name == "model"] == [
        found.digest for found in inputs if found.name == "model"
    ]


def test_sixteen_suites_with_long_names_tell_every_gates_metric() -> None:
    metrics = tuple(score(number, f"suite{number}") for number in range(80))
    judged = tuple(metric.name for metric in metrics[-32:])
    inputs = tuple(
        InputRecord(name=name, uri="pvc://models/" + "p" * 100, digest=DIGEST)
        for name in ("model", *(f"suite/{'x' * 60}{n}" for n in range(16)))
    )
    result = StageResult(outcome=Outcome.SUCCEEDED, metrics=metrics, inputs=inputs)
    read = StageResult.model_validate_json(result.termination_message(judged))
    assert read.measured(judged).keys() >= {*judged}


def test_few_metrics_are_told_by_name_and_the_gates_come_first() -> None:
    metrics = tuple(score(number) for number in range(60))
    judged = (metrics[50].name, "s/never", metrics[3].name)
    read = StageResult.model_validate_json(
        StageResult(outcome=Outcome.SUCCEEDED, metrics=metrics).termination_message(judged)
    )
    assert [metric.name for metric in read.metrics[:3]] == [
        metrics[50].name,
        metrics[3].name,
        metrics[0].name,
    ]
    assert 3 < len(read.metrics) < 60
    assert read.gate_values == ()


def test_versions_go_before_places_and_places_before_metrics() -> None:
    result = StageResult(
        outcome=Outcome.SUCCEEDED,
        metrics=tuple(score(number) for number in range(10)),
        inputs=(InputRecord(name="model", uri="pvc://c/" + "p" * 1500, digest=DIGEST),),
        versions={f"p{number}": "1" * 100 for number in range(20)},
    )
    read = StageResult.model_validate_json(result.termination_message())
    assert (len(read.metrics), read.versions, len(read.inputs[0].uri)) == (10, {}, 1508)
    longer = result.model_copy(update={"metrics": tuple(score(number) for number in range(25))})
    read = StageResult.model_validate_json(longer.termination_message())
    assert (len(read.metrics), read.inputs[0].uri, read.inputs[0].digest) == (25, "", DIGEST)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_no_number_is_left_out(value: float) -> None:
    metrics = (Metric(name="loss", value=value), Metric(name="accuracy", value=0.5))
    result = StageResult(outcome=Outcome.SUCCEEDED, metrics=metrics)
    for text in (result.to_json(), result.termination_message(("loss",))):
        assert StageResult.model_validate_json(text).measured() == {"accuracy": 0.5}


@pytest.mark.parametrize(
    "garbage",
    [
        {"name": "loss", "value": None},
        {"name": "loss"},
        {"value": 1},
        {"name": "", "value": 1},
        {"name": "loss", "value": "much"},
        {"name": "loss", "value": True},
        {"name": 7, "value": 1},
        {"name": "loss", "value": 10**400},
        None,
        "loss",
    ],
)
def test_garbage_for_a_metric_is_no_metric_and_says_nothing_of_the_rest(garbage: object) -> None:
    told = {
        "outcome": "Succeeded",
        "metrics": [garbage, {"name": "accuracy", "value": 1}],
        "versions": {"a": 1},
    }
    told |= {"failure": None, "seconds": None, "reused": None}
    read = StageResult.model_validate_json(json.dumps(told))
    assert read.measured() == {"accuracy": 1}
    assert read.versions == {}
    Progress.model_validate_json(json.dumps({"phase": "Working", "percent": None, "metrics": [garbage]}))


def test_a_long_name_is_cut_and_stays_one_of_its_own() -> None:
    one, two = (Metric(name="n" * 300 + end, value=1) for end in "ab")
    assert len(one.name) == len(two.name) == 128
    assert one.name != two.name


def test_a_reason_of_a_later_version_is_told_with_its_word() -> None:
    told = {"outcome": "Failed", "failure": {"reason": "GpuOnFire", "message": "hot"}}
    read = StageResult.model_validate_json(json.dumps(told))
    assert read.failure
    assert (read.failure.reason, read.failure.message) == (FailureReason.INTERNAL_ERROR, "GpuOnFire: hot")


def test_a_text_is_cut_in_whole_characters() -> None:
    failure = Failure(reason=FailureReason.DATASET_INVALID, message="\N{ROCKET}" * 5000, hint="h" * 5000)
    result = StageResult(outcome=Outcome.FAILED, failure=failure)
    read = StageResult.model_validate_json(result.termination_message())
    assert read.failure
    assert read.failure.message.removesuffix("...") == "\N{ROCKET}" * 299
    assert read.failure.hint.startswith("hhh")
