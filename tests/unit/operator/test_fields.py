"""Every field of every kind's spec has an effect: this says where each arrives, and fails for one that does not.

A field `a.b` arrives in the stage's spec at `a.b`, and one of `pod` in the template of the pods. Where that is not so,
it stands in ELSEWHERE.
"""

from __future__ import annotations

from typing import Any

import pytest

from speechless.contract.objectives import OBJECTIVES
from speechless_operator.api import KINDS
from speechless_operator.desired.objects import Object
from tests.unit.layout.repository import ROOT
from tests.unit.operator.fields import arrivals, fields, values, with_field
from tests.unit.operator.make import a_score

MODEL = {"uri": "pvc://models/base"}
CODE = {
    "name": "s",
    "type": "HumanEval",
    "data": {"uri": "pvc://models/t"},
    "samplesPerTask": 9,
    "temperature": 1,
}
BASE: dict[str, Object] = {
    "FineTune": {"model": MODEL, "dataset": {"uri": "pvc://models/rows"}},
    "Evaluation": {"model": MODEL, "suites": [CODE], "allowCodeExecution": True},
    "Quantization": {"model": MODEL},
    "InferenceService": {"model": MODEL},
}
PATTERNS = ("include", "exclude")
INSTEAD: dict[str, Object] = {
    "model.fineTune.name": {"model": {}},
    "model.quantization.name": {"model": {}},
    "model.secretRef.name": {"model": {"uri": "s3://models/base"}},
    "dataset.secretRef.name": {"dataset": {"uri": "s3://models/rows"}},
    "suites.0.data.secretRef.name": {"suites": [CODE | {"data": {"uri": "s3://models/t"}}]},
    "verify.text.secretRef.name": {"verify": {"text": {"uri": "s3://models/t"}}},
    "output.secretRef.name": {"output": {"uri": "s3://models/out"}},
    **{f"model.{name}": {"model": {"uri": "s3://models/base"}} for name in PATTERNS},
    **{f"dataset.{name}": {"dataset": {"uri": "s3://models/rows"}} for name in PATTERNS},
    **{f"suites.0.data.{name}": {"suites": [CODE | {"data": {"uri": "s3://models/t"}}]} for name in PATTERNS},
    **{f"verify.text.{name}": {"verify": {"text": {"uri": "s3://models/t"}}} for name in PATTERNS},
    **{
        f"hyperparameters.{name}": {"dataset": {"uri": "pvc://models/rows", "evalFraction": 0.1}}
        for name in ("earlyStoppingPatience", "evalSteps", "loadBestModelAtEnd")
    },
    "tracking.runName": {"tracking": {"reportTo": ["MLflow"]}},
    **{
        f"{row.options}.{field.alias}": {"objective": row.name.value, "method": "Full"}
        for row in OBJECTIVES.values()
        if row.settings
        for field in row.settings.model_fields.values()
    },
    "qlora.bits": {"method": "QLoRA"},
    "qlora.quantType": {"method": "QLoRA"},
    "qlora.doubleQuant": {"method": "QLoRA"},
    "gates.0.min": {"gates": [{"metric": "humaneval/pass@1"}]},
    "gates.0.max": {"gates": [{"metric": "humaneval/pass@1"}]},
}
"""What else the spec must say for a field to count."""
VALUES: dict[str, tuple[Any, Any]] = {"engineArgs": (["--threads", "1"], ["--threads", "2"])}
"""Where not any value will do."""
ELSEWHERE = {
    "model.fineTune.name": "status/Ready",
    "model.quantization.name": "status/Ready",
    "output.uri": "Job/spec/template/spec/volumes",
    "output.secretRef.name": "stage/outputSecretRef/name",
    "suspend": "status/Ready",
    "activeDeadlineSeconds": "Job/spec/activeDeadlineSeconds",
    "backoffLimit": "Job/spec/backoffLimit",
    "queueName": "Job/metadata/labels/kueue.x-k8s.io/queue-name",
    "ttlSecondsAfterFinished": "plan/requeueAfter",
    "gates.0.metric": "status/Passed",
    "gates.0.min": "status/Passed",
    "gates.0.max": "status/Passed",
    "replicas": "Deployment/spec/replicas",
    "gate.evaluations.0.name": "status/GatePassed",
}
AFTER_THE_END = {"ttlSecondsAfterFinished", "gates.0.metric", "gates.0.min", "gates.0.max"}
IN_THE_PLAN = {"upgradePolicy": "upgrade_policy"}
"""What counts only when the operator itself changes: the word of it in plan/."""
FIELDS = [(kind, path) for kind in KINDS for path in fields(kind)]
PODS = {"FineTune": "Job/spec/template", "InferenceService": "Deployment/spec/template"}
"""Every kind that runs once makes its Job by the same function."""


@pytest.mark.parametrize(("kind", "path"), [found for found in FIELDS if not found[1].startswith("pod.")])
def test_a_field_arrives(kind: str, path: str) -> None:
    one, two = VALUES.get(path) or values(fields(kind)[path])
    if path in IN_THE_PLAN or one == two:
        return
    base = BASE[kind] | INSTEAD.get(path, {})
    before, after = (with_field(kind, base, path, value) for value in (one, two))
    found = arrivals(kind, before, after, a_score(0.5) if path in AFTER_THE_END else None)
    where = ELSEWHERE.get(path, f"stage/{path.replace('.', '/')}")
    assert any(place == where or place.startswith(f"{where}/") for place in found), found


def test_a_field_with_one_value_says_so() -> None:
    alone = {path for kind, path in FIELDS if len(set(map(str, values(fields(kind)[path])))) == 1}
    assert alone == {"format", "engine", "gate.policy"}


@pytest.mark.parametrize("path", IN_THE_PLAN)
def test_a_field_is_looked_at(path: str) -> None:
    sources = (ROOT / "operator" / "speechless_operator" / "plan").glob("*.py")
    assert any(f".{IN_THE_PLAN[path]}" in source.read_text() for source in sources)


OF_PODS = [(kind, path) for kind, path in FIELDS if kind in PODS and path.startswith("pod.")]


@pytest.mark.parametrize(("kind", "path"), OF_PODS)
def test_a_field_of_the_pod_arrives(kind: str, path: str) -> None:
    before, after = (with_field(kind, BASE[kind], path, value) for value in values(fields(kind)[path]))
    found = arrivals(kind, before, after)
    assert any(place.startswith(PODS[kind]) for place in found), found


def test_nothing_is_said_of_a_field_that_is_not_there() -> None:
    known = {path for _, path in FIELDS}
    said = {*ELSEWHERE, *AFTER_THE_END, *IN_THE_PLAN, *INSTEAD, *VALUES}
    assert said <= known


def test_a_field_that_arrives_nowhere_is_found() -> None:
    before, after = ({**BASE["FineTune"], "nowhere": value} for value in (1, 2))
    assert arrivals("FineTune", before, after) == []
