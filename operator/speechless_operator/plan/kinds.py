"""Which plan goes with which kind, and what each kind refers to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from speechless_operator.desired.objects import Object
from speechless_operator.plan.evaluation import EVALUATION
from speechless_operator.plan.finetune import FINE_TUNE
from speechless_operator.plan.inferenceservice import plan_service
from speechless_operator.plan.observed import Observed, Plan
from speechless_operator.plan.quantization import QUANTIZATION
from speechless_operator.plan.resolve import NAMED
from speechless_operator.plan.runkind import RunKind
from speechless_operator.plan.running import plan_run

RUNS: Mapping[str, RunKind[Any]] = {
    "FineTune": FINE_TUNE,
    "Evaluation": EVALUATION,
    "Quantization": QUANTIZATION,
}
PLANS: Mapping[str, Callable[[Observed, datetime], Plan]] = {
    **{name: partial(plan_run, kind) for name, kind in RUNS.items()},
    "InferenceService": plan_service,
}


def plan(observed: Observed, now: datetime) -> Plan:
    """What is to be done for a resource, whatever happened before: the same question always has the same answer."""
    name = observed.obj["kind"]
    if "deletionTimestamp" in observed.obj["metadata"]:
        kind = RUNS.get(name)
        # Without a finalizer of its kind there is nothing to do: its children go by their owner references.
        return kind.finalize(observed) if kind is not None and kind.finalize is not None else Plan()
    return PLANS[name](observed, now)


def references(obj: Object) -> frozenset[tuple[str, str]]:
    """The kind and name of every resource that this one names. Works on specs that are not valid, too."""
    spec = obj.get("spec")
    spec = spec if isinstance(spec, dict) else {}
    model = _dict(spec, "model")
    found = {(kind, _dict(model, field).get("name")) for field, kind in NAMED.items() if field in model}
    evaluations = _dict(spec, "gate").get("evaluations")
    if isinstance(evaluations, list):
        found |= {("Evaluation", entry.get("name")) for entry in evaluations if isinstance(entry, dict)}
    return frozenset((kind, name) for kind, name in found if isinstance(name, str))


def _dict(of: dict[str, Any], key: str) -> dict[str, Any]:
    value = of.get(key)
    return value if isinstance(value, dict) else {}
