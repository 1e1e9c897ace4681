"""Which plan goes with which kind, and what each kind refers to."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from speechless_operator.desired.objects import Object
from speechless_operator.plan.evaluation import EVALUATION
from speechless_operator.plan.finetune import FINE_TUNE
from speechless_operator.plan.inferenceservice import plan_service
from speechless_operator.plan.job import plan_job
from speechless_operator.plan.observed import Observed, Plan
from speechless_operator.plan.quantization import QUANTIZATION


def plan(observed: Observed, now: datetime) -> Plan:
    """What is to be done for a resource, whatever happened before: the same question always has the same answer."""
    if "deletionTimestamp" in observed.obj["metadata"]:
        return Plan()  # its children go by their owner references
    match observed.obj["kind"]:
        case "FineTune":
            return plan_job(FINE_TUNE, observed, now)
        case "Evaluation":
            return plan_job(EVALUATION, observed, now)
        case "Quantization":
            return plan_job(QUANTIZATION, observed, now)
        case "InferenceService":
            return plan_service(observed, now)
        case other:
            raise ValueError(f"no plan for kind {other}")


def references(obj: Object) -> frozenset[tuple[str, str]]:
    """The kind and name of every resource that this one names. Works on specs that are not valid, too."""
    spec = obj.get("spec")
    spec = spec if isinstance(spec, dict) else {}
    model = _dict(spec, "model")
    found = {
        (kind, _dict(model, field).get("name"))
        for field, kind in (("fineTune", "FineTune"), ("quantization", "Quantization"))
        if field in model
    }
    evaluations = _dict(spec, "gate").get("evaluations")
    if isinstance(evaluations, list):
        found |= {("Evaluation", entry.get("name")) for entry in evaluations if isinstance(entry, dict)}
    return frozenset((kind, name) for kind, name in found if isinstance(name, str))


def _dict(of: dict[str, Any], key: str) -> dict[str, Any]:
    value = of.get(key)
    return value if isinstance(value, dict) else {}
