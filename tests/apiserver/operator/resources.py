"""Manifests of the four kinds, the smallest that are valid, with room for more."""

from __future__ import annotations

from typing import Any

from tests.support.kube import Object

API_VERSION = "speechless.dev/v1alpha1"
BASE = {"uri": "pvc://models/base"}


def resource(kind: str, name: str, namespace: str, spec: Object, **meta: Any) -> Object:
    """A resource."""
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, **meta},
        "spec": spec,
    }


def fine_tune(name: str, namespace: str, **spec: Any) -> Object:
    """Trains pvc://models/base."""
    return resource(
        "FineTune", name, namespace, {"model": BASE, "dataset": {"uri": "pvc://models/rows.jsonl"}, **spec}
    )


def quantization(name: str, namespace: str, of: str, **spec: Any) -> Object:
    """Quantizes a FineTune's artifact."""
    return resource(
        "Quantization", name, namespace, {"model": {"fineTune": {"name": of}}, "type": "Q8_0", **spec}
    )


def evaluation(
    name: str, namespace: str, model: Object, *, minimum: float | None = 0.6, **spec: Any
) -> Object:
    """Scores a model with HumanEval."""
    gates = {} if minimum is None else {"gates": [{"metric": "humaneval/pass@1", "min": minimum}]}
    suites = [{"name": "humaneval", "type": "HumanEval", "data": {"uri": "pvc://models/tests.jsonl"}}]
    return resource(
        "Evaluation",
        name,
        namespace,
        {"model": model, "suites": suites, "allowCodeExecution": True, **gates, **spec},
    )


def service(
    name: str, namespace: str, model: Object, *gate: str, annotations: Any = None, **spec: Any
) -> Object:
    """Serves a model, behind the evaluations of `gate`."""
    gated = {"gate": {"evaluations": [{"name": each} for each in gate]}} if gate else {}
    meta = {"annotations": annotations} if annotations else {}
    return resource("InferenceService", name, namespace, {"model": model, **gated, **spec}, **meta)
