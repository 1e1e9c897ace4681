"""Gates: whether numbers lie within bounds, and whether a model may be served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from speechless_operator.api.evaluation import Gate
from speechless_operator.api.inferenceservice import ServiceGate
from speechless_operator.api.reasons import Reason
from speechless_operator.desired.inputs import read_inputs
from speechless_operator.desired.objects import Object
from speechless_operator.plan.accept import text
from speechless_operator.plan.conditions import Aspect, find, holds
from speechless_operator.plan.resolve import References


def judge(gates: Sequence[Gate], metrics: Mapping[str, float]) -> Aspect | None:
    """The condition Passed of an Evaluation; None where there is nothing to judge by."""
    if not gates:
        return None
    if missing := [gate.metric for gate in gates if gate.metric not in metrics]:
        message = f"not measured: {', '.join(missing)}; measured: {', '.join(sorted(metrics)) or 'nothing'}"
        return Aspect("Passed", False, Reason.METRIC_MISSING, message)
    verdicts = [_verdict(gate, metrics[gate.metric]) for gate in gates]
    if failed := [text for good, text in verdicts if not good]:
        return Aspect("Passed", False, Reason.GATE_FAILED, "; ".join(failed))
    return Aspect("Passed", True, Reason.GATES_PASSED, "; ".join(text for _, text in verdicts))


def _verdict(gate: Gate, value: float) -> tuple[bool, str]:
    """Whether the value passes, and the comparison as text: `humaneval/pass@1 0.41 < 0.60`."""
    if gate.min is not None and not value >= gate.min:  # not `<`: a NaN passes no gate
        return False, f"{gate.metric} {number(value)} < {number(gate.min)}"
    if gate.max is not None and not value <= gate.max:
        return False, f"{gate.metric} {number(value)} > {number(gate.max)}"
    bounds = [f">= {number(gate.min)}"] if gate.min is not None else []
    bounds += [f"<= {number(gate.max)}"] if gate.max is not None else []
    return True, f"{gate.metric} {number(value)} {' and '.join(bounds)}"


def number(value: float) -> str:
    """A number for people.

    >>> number(0.6), number(0.41463), number(12)
    ('0.6', '0.4146', '12')
    """
    return f"{value:.4g}"


@dataclass(frozen=True)
class Verdict:
    """What one Evaluation says of the model that is to be served."""

    name: str
    passed: bool
    message: str
    final: bool
    """Whether it stays so until somebody changes something."""
    samples: int | None = None
    """How many samples its numbers rest on."""
    overridden: str = ""
    """What of its pod was not the operator's."""
    gone: bool = False
    """Whether the Evaluation is gone, and this is what it said before."""

    def status(self) -> Object:
        """As status.gate.evaluations has it."""
        made: Object = {"name": self.name, "passed": self.passed, "message": text(self.message)}
        if self.samples is not None:
            made["samples"] = self.samples
        if self.overridden:
            made["overridden"] = self.overridden
        if self.gone:
            made["gone"] = True
        return made


def verdicts(
    gate: ServiceGate, digest: str | None, references: References, known: Mapping[str, Object]
) -> list[Verdict]:
    """What every named Evaluation says of the artifact of this digest.

    `known`: what was said before of this very digest, by name. It counts for an Evaluation that is gone: one with a
    time to live has said what it had to say.
    """
    return [
        _verdict_of(ref.name, digest, references.get(("Evaluation", ref.name)), known.get(ref.name))
        for ref in gate.evaluations
    ]


def _verdict_of(name: str, digest: str | None, evaluation: Object | None, known: Object | None) -> Verdict:
    if evaluation is None or "deletionTimestamp" in evaluation["metadata"]:
        return _of_one_that_is_gone(name, known)
    status = evaluation.get("status") or {}
    if holds(status, "Failed"):
        why = find(status, "Failed") or {}
        message = text(f"evaluation {name}: failed: {why.get('reason')}: {why.get('message')}", 1024)
        return Verdict(name, False, message, final=True)
    if not holds(status, "Succeeded"):
        return Verdict(name, False, f"evaluation {name}: not finished", final=False)
    scored = next((i.digest for i in read_inputs(status.get("inputs")) if i.name == "model"), None)
    if scored is None or scored != digest:
        message = (
            f"evaluation {name}: scored another artifact ({_short(scored)}), not this one ({_short(digest)})"
        )
        return Verdict(name, False, message, final=True)
    passed = find(status, "Passed")
    if passed is None:
        return Verdict(
            name, False, f"evaluation {name}: has no gates, so nothing says that it passed", final=True
        )
    message = f"evaluation {name}: {passed.get('message')}"
    return Verdict(name, passed.get("status") == "True", message, True, _samples(status), _overridden(status))


def _of_one_that_is_gone(name: str, known: Object | None) -> Verdict:
    if known is None or known.get("passed") is not True:
        return Verdict(name, False, f"evaluation {name}: does not exist yet", final=False)
    said, count = str(known.get("message", "")), known.get("samples")
    return Verdict(
        name,
        True,
        said if known.get("gone") else f"{said} (the Evaluation is gone; what it said is kept)",
        final=True,
        samples=count if isinstance(count, int) else None,
        overridden=str(known.get("overridden") or ""),
        gone=True,
    )


def _samples(status: Object) -> int | None:
    """How many samples an Evaluation's numbers rest on, over all its suites."""
    found = [
        entry.get("value")
        for entry in status.get("metrics") or []
        if str(entry.get("name", "")).rpartition("/")[2] == "samples"
    ]
    counts = [int(value) for value in found if isinstance(value, int | float)]
    return sum(counts) if counts else None


def _overridden(status: Object) -> str:
    """What of an Evaluation's pod was its author's: its numbers are their word then."""
    provenance = status.get("provenance") or {}
    parts = {
        "image": provenance.get("imageOverridden"),
        "environment": provenance.get("environmentOverridden"),
    }
    return ", ".join(name for name, value in parts.items() if value)


def _short(digest: str | None) -> str:
    return digest.removeprefix("sha256:")[:12] if digest else "unknown"
