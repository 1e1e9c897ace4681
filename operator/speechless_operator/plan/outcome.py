"""How a run ended: from the Job's last condition and the pod's last word. An exit code alone proves nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from speechless.contract import Metric, Outcome, StageResult
from speechless_operator.api.reasons import Reason
from speechless_operator.desired.inputs import Run
from speechless_operator.desired.job import finished
from speechless_operator.desired.objects import Object
from speechless_operator.plan import diagnosis
from speechless_operator.plan.conditions import Phase, State, now_text

PATIENCE = timedelta(seconds=30)
"""How long a Job may be complete before its pod must have been seen: two watches, two orders."""
_AGAIN = 2.0
MAX_METRICS = 64


@dataclass(frozen=True)
class Wanted:
    """Not decided yet: these logs are to be read, or the cache needs a moment."""

    logs: tuple[str, ...] = ()
    again_after: float | None = None


@dataclass(frozen=True)
class Ended:
    """Decided, for ever."""

    state: State
    result: StageResult | None = None
    status: Object = field(default_factory=dict)


def outcome(
    job: Object, pods: Sequence[Object], logs: Mapping[str, str], now: datetime
) -> Ended | Wanted | None:
    """How the run ended; None while it has not."""
    if (complete := finished(job, "Complete")) is not None:
        return _complete(complete, pods, now)
    if (failed := finished(job, "Failed")) is not None:
        return _failed(failed, pods, logs)
    return None


def _complete(condition: Object, pods: Sequence[Object], now: datetime) -> Ended | Wanted:
    done = [pod for pod in pods if pod.get("status", {}).get("phase") == "Succeeded"]
    pod = diagnosis.newest(done)
    result = diagnosis.result_of(pod) if pod else None
    if pod is None and now - datetime.fromisoformat(condition["lastTransitionTime"]) < PATIENCE:
        return Wanted(again_after=_AGAIN)
    if pod is None or result is None or result.artifact is None or result.outcome is not Outcome.SUCCEEDED:
        where = f"pod {pod['metadata']['name']} left" if pod else "its pod is gone, and left"
        message = (
            f"the Job completed, but {where} no readable result; delete this resource and create it again"
        )
        return _failure({"reason": Reason.RESULT_MISSING.value, "message": message})
    artifact = result.artifact.model_dump(mode="json", by_alias=True)
    metrics = unique(result.metrics)
    status: Object = {"artifact": artifact, "provenance": _provenance(pod, result)}
    if metrics:
        status["metrics"] = [{"name": name, "value": value} for name, value in metrics.items()]
    again = ", found whole from an earlier attempt" if result.reused else ""
    state = State(Phase.SUCCEEDED, Reason.SUCCEEDED, f"published {artifact['uri']}{again}")
    return Ended(state, result, status)


def _failed(condition: Object, pods: Sequence[Object], logs: Mapping[str, str]) -> Ended | Wanted:
    if condition.get("reason") == "DeadlineExceeded":
        message = "the run took longer than spec.activeDeadlineSeconds"
        hint = "create it again with a longer deadline: what was checkpointed is not lost where the output is the same"
        return _failure({"reason": Reason.DEADLINE_EXCEEDED.value, "message": message, "hint": hint})
    told = last_failure(pods, logs)
    if isinstance(told, Wanted):
        return told
    if told is None:
        message = (
            f"the Job failed, and its pods are gone: {condition.get('reason')}: {condition.get('message')}"
        )
        return _failure({"reason": Reason.STAGE_FAILED.value, "message": message})
    attempts = sum(diagnosis.ended_badly(pod) for pod in pods)
    if attempts > 1 and condition.get("reason") == "BackoffLimitExceeded":
        told["message"] = f"{told['message']} (attempt {attempts}, the last)"
    return _failure(told)


def _failure(told: Object) -> Ended:
    message = told["message"] + (f"\n{told['hint']}" if told.get("hint") else "")
    return Ended(State(Phase.FAILED, Reason(told["reason"]), message), None, {"failure": told})


def last_failure(pods: Sequence[Object], logs: Mapping[str, str]) -> Object | Wanted | None:
    """status.failure from the newest pod that failed; its log is asked for first."""
    pod = diagnosis.newest(pod for pod in pods if diagnosis.ended_badly(pod))
    if pod is None:
        return None
    name = pod["metadata"]["name"]
    if name not in logs:
        return Wanted(logs=(name,))
    return diagnosis.failure(pod, logs[name])


def unique(metrics: Sequence[Metric]) -> dict[str, float]:
    """Metrics by name, the first of a name; NaN and infinities cannot be written as JSON and are left out."""
    found: dict[str, float] = {}
    for metric in metrics:
        if metric.value - metric.value == 0:
            found.setdefault(metric.name, metric.value)
    return dict(list(found.items())[:MAX_METRICS])


def _provenance(pod: Object, result: StageResult) -> Object:
    found: Object = {
        "imageDigest": diagnosis.container_status(pod).get("imageID") or None,
        "versions": dict(sorted(result.versions.items())[:64]) or None,
        "seed": result.seed,
    }
    return {key: value for key, value in found.items() if value is not None}


def inputs(run: Run, result: StageResult | None) -> list[Object]:
    """status.inputs: what was decided, with the digests of what was really read."""
    measured = {found.name: found.digest for found in result.inputs} if result else {}
    found = [entry.status() for entry in run.inputs]
    return [
        entry | {"digest": measured[entry["name"]]} if entry["name"] in measured else entry for entry in found
    ]


def completion_time(job: Object, now: datetime) -> str:
    """When the Job ended; a failed Job has no completionTime of its own."""
    for kind in ("Complete", "Failed"):
        condition = finished(job, kind)
        if condition and condition.get("lastTransitionTime"):
            return str(condition["lastTransitionTime"])
    return now_text(now)


def last_progress(old: Object, new: Object) -> Object | None:
    """A run that succeeded is at 100 %, whatever was polled last."""
    if new.get("phase") != Phase.SUCCEEDED.value:
        return None
    known = old.get("progress", {})
    done = {key: known[key] for key in ("totalSteps", "metrics") if key in known}
    if "totalSteps" in known:
        done["step"] = known["totalSteps"]
    done |= {"phase": "Done", "percent": 100, "summary": "100%"}
    return None if known == done else done
