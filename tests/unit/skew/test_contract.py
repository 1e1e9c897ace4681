"""What operator and stages tell each other across a version: a pinned image is older or newer than the operator."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest

from speechless.contract import (
    Artifact,
    Failure,
    FailureReason,
    Format,
    InputRecord,
    Metric,
    Outcome,
    Progress,
    ProgressPhase,
    StageResult,
)
from tests.skew import contract, scenarios
from tests.unit.skew import views

A = "sha256:" + "a" * 64
RESULTS = (
    StageResult(
        outcome=Outcome.SUCCEEDED,
        artifact=Artifact(uri="pvc://artifacts/x", digest=A, size_bytes=7, format=Format.HUGGING_FACE),
        inputs=(InputRecord(name="model", uri="pvc://models/base", digest=A, format=Format.GGUF),),
        metrics=(Metric(name="humaneval/pass@1", value=0.5), Metric(name="loss", value=-1e-9)),
        seconds=1.5,
        seed=0,
        versions={"torch": "2.13"},
        reused=True,
    ),
    StageResult(
        outcome=Outcome.SUCCEEDED,
        artifact=Artifact(uri="pvc://artifacts/x", digest=A, size_bytes=0, format=Format.REPORT),
    ),
    StageResult(
        outcome=Outcome.FAILED,
        failure=Failure(
            reason=FailureReason.DATASET_INVALID, message="rows.jsonl:17: \U0001f680", hint="mend it"
        ),
    ),
    StageResult(outcome=Outcome.FAILED, failure=Failure(reason=FailureReason.INTERNAL_ERROR, message="")),
)
PROGRESS = (
    Progress(phase=ProgressPhase.FETCHING),
    Progress(
        phase=ProgressPhase.WORKING, step=3, total_steps=12, percent=25, remaining_seconds=0, message="epoch 1",
        metrics=(Metric(name="loss", value=1.25),),
    ),
)  # fmt: skip


def written_today() -> dict[str, list[str]]:
    """Everything that goes from one side to the other."""
    objects = [obj for found in scenarios.record().values() for obj in found]
    return {
        "spec": sorted(set(views.stage_specs(objects))),
        "run": sorted(set(views.run_annotations(objects))),
        "result": [result.termination_message() for result in RESULTS],
        "progress": [progress.to_json() for progress in PROGRESS],
    }


def written_before() -> dict[str, list[str]]:
    """The same, by the version before."""
    objects = [obj for name in views.names() for obj in views.stored(name)]
    messages = [
        ended["message"]
        for pod in objects
        if pod["kind"] == "Pod"
        for status in pod["status"].get("containerStatuses", [])
        if (ended := status["state"].get("terminated"))
    ]
    return {
        "spec": sorted(set(views.stage_specs(objects))),
        "run": sorted(set(views.run_annotations(objects))),
        "result": sorted(set(filter(None, messages))),
    }


@cache
def _both(when: str) -> tuple[dict[str, list[str]], dict[str, list[Any]], dict[str, list[Any]]]:
    texts = {"today": written_today, "before": written_before}[when]()
    return texts, contract.read(texts), views.read_by_old(texts)


@pytest.mark.parametrize("kind", ["spec", "run", "result", "progress"])
def test_the_version_before_reads_what_today_writes(kind: str) -> None:
    texts, _, by_old = _both("today")
    refused = [
        (text, read["refused"])
        for text, read in zip(texts[kind], by_old[kind], strict=True)
        if isinstance(read, dict) and "refused" in read
    ]
    assert len(texts[kind]) >= 2
    assert refused == []


@pytest.mark.parametrize("kind", ["spec", "run", "result"])
def test_today_reads_what_the_version_before_wrote(kind: str) -> None:
    texts, by_today, _ = _both("before")
    assert len(texts[kind]) >= 4
    assert [read for read in by_today[kind] if isinstance(read, dict) and "refused" in read] == []


@pytest.mark.parametrize("when", ["today", "before"])
@pytest.mark.parametrize("kind", ["spec", "run", "result", "progress"])
def test_both_understand_the_same(kind: str, when: str) -> None:
    """What is left out means the same to both: a default is never another one."""
    texts, by_today, by_old = _both(when)
    for text, today, old in zip(
        texts.get(kind, []), by_today.get(kind, []), by_old.get(kind, []), strict=True
    ):
        assert common(today, old) == old, text


UNSET = {"waitSeconds": 0}
"""Fields that have no default any more, and what the version before says where they are not set."""


def common(today: Any, old: Any) -> Any:
    """Of today's reading, the fields that the version before knows, too."""
    if isinstance(old, dict) and isinstance(today, dict):
        known = {key: UNSET.get(key) if today.get(key) is None else today[key] for key in old}
        return {key: common(known[key], value) for key, value in old.items()}
    if isinstance(old, list) and isinstance(today, list) and len(old) == len(today):
        return [common(a, b) for a, b in zip(today, old, strict=True)]
    return today


def test_a_newer_stages_result_is_read_for_what_is_known() -> None:
    newer = json.loads(RESULTS[0].termination_message())
    newer["energyJoules"] = 7
    newer["artifact"]["model"] = {"architecture": "LlamaForCausalLM"}
    newer["metrics"].append({"name": "new", "value": 1, "unit": "s"})
    newer["artifact"]["format"] = newer["inputs"][0]["format"] = "Onnx"

    (read,) = contract.read({"result": [json.dumps(newer)]})["result"]

    assert (read["artifact"]["digest"], read["artifact"]["format"]) == (A, "Onnx")
    assert [metric["name"] for metric in read["metrics"]] == ["humaneval/pass@1", "loss", "new"]


def test_a_newer_operators_annotation_is_read_for_what_is_known() -> None:
    objects = views.stored("serving-the-chain")
    newer = json.loads(views.run_annotations(objects)[0])
    newer["attempt"] = 3
    newer["inputs"][0]["licence"] = "Apache-2.0"

    (read,) = contract.read({"run": [json.dumps(newer)]})["run"]

    assert read[0]["name"] == "model"


def test_a_newer_stages_progress_is_read_for_what_is_known() -> None:
    newer = json.loads(PROGRESS[1].to_json()) | {"gpuUtilization": 0.9}
    (read,) = contract.read({"progress": [json.dumps(newer)]})["progress"]
    assert read["step"] == 3
