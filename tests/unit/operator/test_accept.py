"""What a pod says is cut, cleaned and checked: it is a result of this run or a reason, and it fits a status."""

from __future__ import annotations

import json
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from speechless.contract import Artifact, Format, InputRecord, Metric, Outcome, StageResult
from speechless_operator.api.finetune import FineTuneStatus
from speechless_operator.api.reasons import Reason
from speechless_operator.desired.inputs import Input, Run
from speechless_operator.plan import accept
from speechless_operator.runtime.wire import encode
from tests.unit.operator.make import A, B

OUTPUT = "pvc://artifacts/store/demo/finetune/tuned/1"
RUN = Run((Input("model", "pvc://m/base", digest=A), Input("dataset", "pvc://m/rows")), OUTPUT, "1")


def result(**change: Any) -> dict[str, Any]:
    """A good result as JSON has it, with some of it changed."""
    good = StageResult(
        outcome=Outcome.SUCCEEDED,
        artifact=Artifact(uri=OUTPUT, digest=B, size_bytes=7, format=Format.HUGGING_FACE),
        inputs=(
            InputRecord(name="model", uri="x", digest=A),
            InputRecord(name="dataset", uri="y", digest=B, revision="c0ffee"),
        ),
        metrics=(Metric(name="loss", value=0.5),),
        seed=42,
        versions={"torch": "2"},
    )
    return json.loads(good.to_json()) | change


def accepted(said: Any) -> accept.Accepted:
    """It is taken."""
    found = accept.result(json.dumps(said), RUN)
    assert isinstance(found, accept.Accepted), found
    return found


def artifact(**change: Any) -> dict[str, Any]:
    """The result's artifact with some of it changed."""
    return {"artifact": result()["artifact"] | change}


def test_a_good_result_is_taken() -> None:
    found = accepted(result())
    assert found.artifact == {"uri": OUTPUT, "digest": B, "sizeBytes": 7, "format": "HuggingFace"}
    assert found.metrics == {"loss": 0.5}
    assert found.inputs == {"model": {"digest": A}, "dataset": {"digest": B, "revision": "c0ffee"}}
    assert found.provenance == {"versions": {"torch": "2"}, "seed": 42}


def test_what_model_it_is_is_told_in_short() -> None:
    told = {"architecture": "llama", "parameters": 2**70, "quantization": {"method": "gguf", "type": "Q8_0"}}
    found = accepted(result(**artifact(model=told | {"license": "mit"}))).artifact["model"]
    assert found == {"architecture": "llama", "parameters": 2**63 - 1, "quantization": "gguf"}
    for garbage in ({"architecture": "a\nb"}, {"quantization": "x"}, {}, 7, None):
        assert "model" not in accepted(result(**artifact(model=garbage))).artifact


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (result(**artifact(uri="file:///etc")), Reason.RESULT_REJECTED),
        (result(**artifact(uri=OUTPUT + "/../other")), Reason.RESULT_REJECTED),
        (result(**artifact(uri="pvc://artifacts/store/demo/finetune/tuned/2")), Reason.RESULT_REJECTED),
        (result(inputs=[{"name": "model", "uri": "x", "digest": B}]), Reason.RESULT_REJECTED),
        (result(artifact=None), Reason.RESULT_MISSING),
        (result(outcome="Failed"), Reason.RESULT_MISSING),
        (result(outcome="Perhaps"), Reason.RESULT_MISSING),
        ([], Reason.RESULT_MISSING),
        ("all good", Reason.RESULT_MISSING),
        (None, Reason.RESULT_MISSING),
    ],
    ids=str,
)
def test_what_is_of_another_run_or_of_none_is_not_taken(said: Any, reason: Reason) -> None:
    found = accept.result(json.dumps(said), RUN)
    assert isinstance(found, accept.Rejected)
    assert found.reason is reason


@pytest.mark.parametrize(
    "change",
    [
        {"aFieldOfTomorrow": {"a": 1}},
        {"metrics": [{"name": "loss", "value": 0.5}, {"name": "nan", "value": None}]},
        {"metrics": [{"name": "loss", "value": 0.5}, {"name": "x" * 5000, "value": 1}, 7, None]},
        {"metrics": [{"name": "loss", "value": 0.5}, {"name": "\ud800", "value": 1}]},
        {"versions": {"torch": "2", "x" * 999: "y" * 9999, "n": None}},
        {"seed": 2**70},
        {"seed": None},
        {"seconds": None},
    ],
    ids=str,
)
def test_what_is_odd_beside_it_costs_nothing_of_the_rest(change: dict[str, Any]) -> None:
    found = accepted(result(**change))
    assert found.artifact["digest"] == B
    assert found.metrics["loss"] == 0.5
    assert fits(
        {"artifact": found.artifact, "metrics": _named(found.metrics), "provenance": found.provenance}
    )


def _named(metrics: Any) -> list[dict[str, Any]]:
    return [{"name": name, "value": value} for name, value in metrics.items()]


def fits(status: dict[str, Any]) -> bool:
    """Whether the CRD's own model takes it, and whether it can be sent."""
    FineTuneStatus.model_validate(status)
    json.loads(encode(status))
    for metric in status.get("metrics", []):
        assert metric["value"] - metric["value"] == 0
    return True


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")), st.integers(1, 5000))
@settings(max_examples=200)
def test_any_text_is_cut_and_can_be_sent(said: str, limit: int) -> None:
    made = accept.text(said, limit)
    assert len(made) <= limit
    assert json.loads(encode({"message": made})) == {"message": made}
    assert not any(ord(c) < 32 and c not in "\n\t" for c in made)
    assert not any(0x7F <= ord(c) <= 0x9F or 0xD800 <= ord(c) <= 0xDFFF for c in made)


@given(st.text())
@settings(max_examples=100)
def test_any_log_ends_in_20_lines_and_2_kib(log: str) -> None:
    made = accept.log_tail(log)
    assert len(made.encode()) <= 2048
    assert len(made.splitlines()) <= 40  # form feeds and their like break lines for Python alone


def test_colours_and_progress_bars_leave_their_words() -> None:
    assert accept.text("\x1b[31mred\x1b[0m\rdone\r\nnext") == "red\ndone\nnext"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
FIELDS = ["outcome", "artifact", "inputs", "metrics", "failure", "seed", "versions", "reused", "version"]


@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4))
@settings(max_examples=200, deadline=None)
def test_nothing_that_is_said_is_an_exception_or_does_not_fit(change: dict[str, Any]) -> None:
    found = accept.result(json.dumps(result(**change)), RUN, first=("loss",))
    if isinstance(found, accept.Accepted):
        assert fits(
            {"artifact": found.artifact, "metrics": _named(found.metrics), "provenance": found.provenance}
        )


PROGRESS = ["phase", "step", "totalSteps", "percent", "remainingSeconds", "message", "metrics"]


SAID = st.dictionaries(st.sampled_from(PROGRESS), JSON).map(lambda d: {"phase": "Working"} | d)


@given(st.binary(max_size=200) | SAID.map(lambda said: json.dumps(said).encode()))
@settings(max_examples=200, deadline=None)
def test_nor_is_any_progress(said: bytes) -> None:
    made = accept.progress(said)
    if made is not None:
        assert fits({"progress": made})
        assert 0 <= made["percent"] <= 100


def test_what_gates_need_comes_first() -> None:
    many = [{"name": f"m{n}", "value": n} for n in range(100)]
    found = accept.result(json.dumps(result(metrics=many)), RUN, first=("m99", "absent"))
    assert isinstance(found, accept.Accepted)
    assert next(iter(found.metrics)) == "m99"
    assert len(found.metrics) == accept.MAX_METRICS
