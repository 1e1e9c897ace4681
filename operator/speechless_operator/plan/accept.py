"""The one door for what a pod says: text in, a bounded and checked value or a reason out.

A pod runs what a user chose. What it says is cut to what a status may hold, freed of what no text may hold, and taken
for a run's result only where it speaks of that run's output and of the inputs that were decided before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from speechless.contract import ModelInfo, Outcome, Progress, StageResult
from speechless_operator.api.reasons import Reason
from speechless_operator.desired.inputs import Run
from speechless_operator.desired.objects import Object

MESSAGE, LINE, WORD, LOG = 4096, 1024, 256, 2048
"""Characters that a status' fields hold (api/status.py)."""
LOG_LINES = 20
MAX_METRICS, MAX_PROGRESS_METRICS, MAX_VERSIONS = 64, 32, 64
_INT64 = 2**63 - 1
# Line feed and tab are text. Other control characters, surrogates without their half and non-characters are not: the
# API server reads what is applied as YAML, which has no place for them (YAML 1.2.2, 5.1).
_NOT_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_ANSI = re.compile("\x1b\\[[0-9;?]*[ -/]*[@-~]")


def parse_time(value: object) -> datetime | None:
    """A time as Kubernetes writes it; None for anything else."""
    try:
        return datetime.fromisoformat(str(value)) if value else None
    except ValueError:
        return None


def text(value: object, limit: int = MESSAGE) -> str:
    """Any value as text that a status can hold; what is cut off is replaced by an ellipsis.

    >>> text("a\\x00b\\r\\n")
    'a\\ufffdb\\n'
    >>> text("abcdef", 4)
    'abc…'
    """
    made = _ANSI.sub("", str(value)).replace("\r\n", "\n").replace("\r", "\n")
    made = _NOT_TEXT.sub("\ufffd", made)
    return made if len(made) <= limit else made[: limit - 1] + "…"


def log_tail(log: str) -> str:
    """The last lines of a log: 20 lines and 2 KiB at most.

    >>> log_tail("a\\nb\\n")
    'a\\nb'
    """
    last = "\n".join(text(log[-4 * LOG :], 4 * LOG).rstrip().splitlines()[-LOG_LINES:])
    return last.encode()[-LOG:].decode(errors="ignore")


@dataclass(frozen=True)
class Accepted:
    """A result of this run."""

    artifact: Object
    metrics: Mapping[str, float]
    inputs: Mapping[str, Mapping[str, str]]
    """Role to what was read: its digest and, where the place has names for its states, the revision."""
    reused: bool
    provenance: Object


@dataclass(frozen=True)
class Rejected:
    """What was said is no result of this run."""

    reason: Reason
    message: str


def stage_result(said: object) -> StageResult | None:
    """What a stage said at its end; None where that cannot be read."""
    if not isinstance(said, str) or not said.strip():
        return None
    try:
        # Not pydantic's own parser: a surrogate without its half in one name would make all of it unreadable.
        return StageResult.model_validate(json.loads(said))
    except (ValueError, RecursionError):  # a ValidationError is a ValueError, too
        return None


def result(said: object, run: Run, *, first: Sequence[str] = ()) -> Accepted | Rejected:
    """A run's result from its pod's termination message; the metrics named in `first` are kept before others."""
    found = stage_result(said)
    if found is None or found.artifact is None or found.outcome is not Outcome.SUCCEEDED:
        return Rejected(Reason.RESULT_MISSING, "it left no readable result")
    artifact = found.artifact
    if artifact.uri.rstrip("/") != (run.output or "").rstrip("/"):
        where = f"its result is of {text(artifact.uri, 300)}, and this run's output is {run.output}"
        return Rejected(Reason.RESULT_REJECTED, where)
    told = {entry.name: entry.digest for entry in found.inputs}
    for known in run.inputs:
        if known.digest and told.get(known.name, known.digest) != known.digest:
            what = f"it read {told[known.name]} as {known.name}, and {known.digest} was decided"
            return Rejected(Reason.RESULT_REJECTED, what)
    roles = {known.name for known in run.inputs}
    return Accepted(
        artifact={
            "uri": text(run.output, LINE),
            "digest": artifact.digest,
            "sizeBytes": min(artifact.size_bytes, _INT64),
            "format": text(artifact.format, WORD),
            **_model(artifact.model),
        },
        metrics=metrics(found, first),
        inputs={
            entry.name: {"digest": entry.digest}
            | ({"revision": text(entry.revision, WORD)} if entry.revision else {})
            for entry in found.inputs
            if entry.name in roles
        },
        reused=found.reused,
        provenance=_provenance(found),
    )


def _model(info: ModelInfo | None) -> Object:
    """What model the artifact holds, as status.artifact has it; its names are short and plain already."""
    if info is None:
        return {}
    told: Object = {
        "architecture": info.architecture,
        "parameters": info.parameters and min(info.parameters, _INT64),
        "quantization": info.quantization and info.quantization.method,
    }
    kept = {name: value for name, value in told.items() if value is not None}
    return {"model": kept} if kept else {}


def metrics(found: StageResult, first: Sequence[str] = ()) -> dict[str, float]:
    """Metrics by name, the first of a name; NaN and infinities cannot be written as JSON and are left out."""
    all_of_them = {
        name: value
        for name, value in found.measured(first).items()
        if value - value == 0 and len(name) <= WORD and text(name) == name
    }
    ordered = [name for name in first if name in all_of_them]
    ordered += [name for name in all_of_them if name not in ordered]
    return {name: all_of_them[name] for name in ordered[:MAX_METRICS]}


def _provenance(found: StageResult) -> Object:
    versions = {
        text(name, 128): text(value, WORD) for name, value in sorted(found.versions.items())[:MAX_VERSIONS]
    }
    made: Object = {"versions": versions} if versions else {}
    if found.seed is not None and -_INT64 <= found.seed <= _INT64:
        made["seed"] = found.seed
    return made


def progress(said: bytes | str) -> Object | None:
    """status.progress from what a stage serves; None where that is no progress."""
    try:
        told = Progress.model_validate(json.loads(said))
    except (ValueError, RecursionError):  # a ValidationError is a ValueError, too
        return None
    percent = int(told.percent)
    made: Object = {"phase": told.phase.value, "percent": percent, "step": min(told.step, _INT64)}
    if told.total_steps:
        made["totalSteps"] = min(told.total_steps, _INT64)
    if told.remaining_seconds is not None:
        made["remainingSeconds"] = min(told.remaining_seconds, _INT64)
    if told.message:
        made["message"] = text(told.message, WORD)
    found = {
        metric.name: metric.value
        for metric in told.metrics
        if metric.value - metric.value == 0 and text(metric.name, WORD) == metric.name
    }
    if found:
        made["metrics"] = [{"name": n, "value": v} for n, v in list(found.items())[:MAX_PROGRESS_METRICS]]
    return made | {"summary": text(_summary(made), WORD)}


def _summary(made: Object) -> str:
    """One line for `kubectl get`: `42% 120/300 ~80s`, or the phase while no step is known."""
    if "totalSteps" not in made:
        return str(made["phase"])
    left = f" ~{made['remainingSeconds']}s" if made.get("remainingSeconds") else ""
    return f"{made['percent']}% {made['step']}/{made['totalSteps']}{left}"
