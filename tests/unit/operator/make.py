"""Fluent makers: `a_finetune("tuned").on("pvc://m/base").with_(suspend=True).obj()`."""

from __future__ import annotations

from typing import Any

from speechless.contract import (
    Artifact,
    Failure,
    FailureReason,
    Format,
    InputRecord,
    Metric,
    ModelInfo,
    Outcome,
    StageResult,
)
from speechless_operator.desired.objects import Object

A, B, C, D = (f"sha256:{letter * 64}" for letter in "abcd")


class Maker:
    """Makes one resource."""

    def __init__(self, kind: str, name: str, **spec: Any) -> None:
        self._obj: Object = {
            "apiVersion": "speechless.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": spec,
        }

    def on(self, model: str) -> Maker:
        """From `pvc://...`, `FineTune/name` or `Quantization/name`."""
        kind, _, name = model.partition("/")
        fields = {"FineTune": "fineTune", "Quantization": "quantization"}
        source = {fields[kind]: {"name": name}} if kind in fields else {"uri": model}
        return self.with_(model=source)

    def with_(self, **spec: Any) -> Maker:
        """More of its spec."""
        self._obj["spec"] |= spec
        return self

    def behind(self, *evaluations: str) -> Maker:
        """A gate."""
        return self.with_(gate={"evaluations": [{"name": name} for name in evaluations], "policy": "Enforce"})

    def annotated(self, **annotations: str) -> Maker:
        """Annotations; `_` in a key stands for `-`, the prefix is added."""
        found = {f"speechless.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
        self._obj["metadata"]["annotations"] = found
        return self

    def gated(self, minimum: float, metric: str = "humaneval/pass@1") -> Maker:
        """A bound for a metric."""
        return self.with_(gates=[{"metric": metric, "min": minimum}])

    def obj(self) -> Object:
        """The resource."""
        return self._obj


def a_finetune(name: str = "tuned") -> Maker:
    """Trains pvc://models/base on pvc://models/rows.jsonl."""
    return Maker(
        "FineTune", name, model={"uri": "pvc://models/base"}, dataset={"uri": "pvc://models/rows.jsonl"}
    )


def a_quantization(name: str = "small") -> Maker:
    """Quantizes FineTune tuned."""
    return Maker("Quantization", name, type="Q8_0").on("FineTune/tuned")


def an_evaluation(name: str = "scored") -> Maker:
    """Scores Quantization small with HumanEval."""
    suites = [{"name": "humaneval", "type": "HumanEval", "data": {"uri": "pvc://models/tests.jsonl"}}]
    return Maker("Evaluation", name, suites=suites, allowCodeExecution=True).on("Quantization/small")


def a_service(name: str = "chat") -> Maker:
    """Serves Quantization small."""
    return Maker("InferenceService", name).on("Quantization/small")


def a_result(
    digest: str = A, form: Format = Format.HUGGING_FACE, model: ModelInfo | None = None, **metrics: float
) -> StageResult:
    """What a stage says that went well."""
    return StageResult(
        outcome=Outcome.SUCCEEDED,
        artifact=Artifact(
            uri=f"pvc://artifacts/{digest[7:11]}", digest=digest, size_bytes=7, format=form, model=model
        ),
        inputs=(InputRecord(name="model", uri="pvc://models/base", digest=D),)
        if form is not Format.REPORT
        else (),
        metrics=tuple(Metric(name=name, value=value) for name, value in metrics.items()),
        seed=42,
        versions={"torch": "2.9"},
    )


def a_score(value: float) -> StageResult:
    """What an evaluation says."""
    return a_result(C, Format.REPORT, **{"humaneval/pass@1": value})


def a_failure(reason: FailureReason, message: str = "it broke", hint: str = "") -> StageResult:
    """What a stage says that failed."""
    return StageResult(outcome=Outcome.FAILED, failure=Failure(reason=reason, message=message, hint=hint))
