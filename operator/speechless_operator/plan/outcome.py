"""How one Job of a run ended: from its last condition and its pod's last word. An exit code alone proves nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from speechless.contract import RETRIABLE
from speechless_operator.api.reasons import Reason
from speechless_operator.desired.inputs import Run
from speechless_operator.desired.job import finished, rank_of
from speechless_operator.desired.objects import Object, controller_uid
from speechless_operator.plan import accept, diagnosis
from speechless_operator.plan.conditions import Phase
from speechless_operator.plan.observed import Live, Look

SIDECAR_GRACE = timedelta(seconds=30)
"""How long another container of a pod may go on after the stage has ended."""


@dataclass(frozen=True)
class Needs:
    """Not decided yet: this is to be read first."""

    logs: tuple[str, ...] = ()
    look: Look | None = None


@dataclass(frozen=True)
class Done:
    """It went well."""

    result: accept.Accepted
    pod: Object


@dataclass(frozen=True)
class Lost:
    """It went well by its exit code, and what it said is not to be had."""

    message: str


@dataclass(frozen=True)
class Failed:
    """It failed, and is not tried again by its Job."""

    told: Object
    """status.failure."""
    retriable: bool = False
    """Whether the same run may be tried again by a new Job."""


@dataclass(frozen=True)
class Held:
    """The stage has ended, and another container keeps its pod alive."""

    containers: tuple[str, ...]
    seconds: float
    """Until it is ended for that."""


Verdict = Needs | Done | Lost | Failed | Held | None
"""None: it goes on."""


def verdict(
    job: Object,
    pods: Sequence[Object],
    run: Run,
    *,
    first: Sequence[str],
    logs: Mapping[str, str],
    live: Live | None,
    now: datetime,
) -> Verdict:
    """How a Job ended, or that it has not. `pods` are those of the Job."""
    if finished(job, "Complete") is not None:
        return _complete(job, pods, run, first, live)
    if (failed := finished(job, "Failed")) is not None:
        return _failed(failed, job, pods, logs, live)
    speaker = diagnosis.newest(
        pod for pod in pods if diagnosis.phase_of(pod) == "Running" and rank_of(pod) == 0
    )
    if speaker is not None and (others := diagnosis.kept_alive_by(speaker)):
        return _beside(speaker, others, run, first, logs, now)
    return None


def pods_of(job: Object, pods: Iterable[Object]) -> list[Object]:
    """A Job's own pods: by their controller, not by a label that anyone may write."""
    uid = job["metadata"]["uid"]
    return [pod for pod in pods if controller_uid(pod) == uid]


def _complete(
    job: Object, pods: Sequence[Object], run: Run, first: Sequence[str], live: Live | None
) -> Verdict:
    pod = _succeeded(pods)
    if pod is None:
        # The cache may be behind: what decides for ever is read from the API server itself.
        if live is None:
            return Needs(look=Look(jobs=(job["metadata"]["name"],)))
        pod = _succeeded(pods_of(job, live.pods))
    if pod is None:
        return Lost("its pod was collected before the result was read")
    return _said(pod, run, first)


def _succeeded(pods: Iterable[Object]) -> Object | None:
    return diagnosis.newest(p for p in pods if diagnosis.phase_of(p) == "Succeeded" and rank_of(p) == 0)


def _said(pod: Object, run: Run, first: Sequence[str]) -> Done | Lost | Failed:
    ended = diagnosis.terminated(pod) or {}
    found = accept.result(ended.get("message"), run, first=first)
    if isinstance(found, accept.Accepted):
        return Done(found, pod)
    name = pod["metadata"]["name"]
    if found.reason is Reason.RESULT_MISSING:
        return Lost(f"pod {name}: {found.message}")
    return Failed({"reason": found.reason.value, "message": f"pod {name}: {found.message}", "pod": name})


def _failed(
    condition: Object, job: Object, pods: Sequence[Object], logs: Mapping[str, str], live: Live | None
) -> Verdict:
    if condition.get("reason") == "DeadlineExceeded":
        return Failed(
            {
                "reason": Reason.DEADLINE_EXCEEDED.value,
                "message": "the run took longer than spec.activeDeadlineSeconds",
                "hint": "delete it and create it again with a longer deadline: the same content is the same run, "
                "and goes on from its last checkpoint",
            }
        )
    told = last_failure(pods, logs)
    if told is None and live is None:
        return Needs(look=Look(jobs=(job["metadata"]["name"],)))
    if told is None and live is not None:
        told = last_failure(pods_of(job, live.pods), logs)
    if isinstance(told, Needs):
        return told
    if told is None:
        why = f"{condition.get('reason')}: {condition.get('message')}"
        message = accept.text(f"the Job failed, and its pods are gone: {why}", 3000)
        return Failed({"reason": Reason.STAGE_FAILED.value, "message": message})
    attempts = sum(diagnosis.ended_badly(pod) for pod in pods)
    if attempts > 1 and condition.get("reason") == "BackoffLimitExceeded":
        told["message"] = f"{told['message']} (attempt {attempts}, the last)"
    return Failed(told)


def _beside(
    pod: Object, others: Sequence[str], run: Run, first: Sequence[str], logs: Mapping[str, str], now: datetime
) -> Verdict:
    """The stage's container has ended, and the pod does not: the Job will never say so."""
    ended = diagnosis.ended_now(pod) or {}
    since = accept.parse_time(ended.get("finishedAt")) or now
    left = (since + SIDECAR_GRACE - now).total_seconds()
    if left > 0:
        return Held(tuple(others), left)
    if ended.get("exitCode") == 0:
        return _said(pod, run, first)
    told = last_failure([pod], logs)
    if isinstance(told, Needs):
        return told
    return Failed(told or {}, retriable=ended.get("exitCode") in {code.value for code in RETRIABLE})


def last_failure(pods: Iterable[Object], logs: Mapping[str, str]) -> Object | Needs | None:
    """status.failure from the newest pod that failed; its log is asked for first."""
    pod = diagnosis.newest(pod for pod in pods if diagnosis.ended_badly(pod))
    if pod is None:
        return None
    name = pod["metadata"]["name"]
    if name not in logs:
        return Needs(logs=(name,))
    return diagnosis.failure(pod, logs[name])


def inputs(run: Run, result: accept.Accepted | None) -> list[Object]:
    """status.inputs: what was decided, with the digests and revisions of what was really read."""
    measured = result.inputs if result else {}
    found = [entry.status() for entry in run.inputs]
    return [dict(measured.get(entry["name"], {})) | entry for entry in found]


def times(jobs: Sequence[Object], old: Object, pods: Sequence[Object] = ()) -> Object:
    """status.startTime and completionTime: the first start that is known, the last end.

    A pod may be seen to run before its Job's status says when it began. The pod was made then, so that
    the start is told with the news that it runs, in one write.
    """
    starts = [s for job in jobs if (s := (job.get("status") or {}).get("startTime"))]
    starts = starts or [s for pod in pods if (s := pod["metadata"].get("creationTimestamp"))]
    ends = [end for job in jobs if (end := _end_of(job))]
    made: Object = {}
    if start := old.get("startTime") or min(starts, default=None):
        made["startTime"] = start
    if ends and len(ends) == len(jobs):
        made["completionTime"] = max(ends)
    return made


def _end_of(job: Object) -> str | None:
    """When a Job ended; a failed one has no completionTime of its own."""
    for kind in ("Complete", "Failed"):
        if condition := finished(job, kind):
            return str(condition.get("lastTransitionTime") or "") or None
    return None


def last_progress(old: Object, new: Object) -> Object | None:
    """The last word on a run's progress: one that succeeded is at 100 %, one that failed has no time left."""
    known = old.get("progress") or {}
    if new.get("phase") == Phase.FAILED.value:
        stopped = {key: value for key, value in known.items() if key not in ("remainingSeconds", "message")}
        if "totalSteps" in known:
            stopped["summary"] = f"{known.get('percent', 0)}% {known.get('step', 0)}/{known['totalSteps']}"
        return None if stopped == known else stopped
    if new.get("phase") != Phase.SUCCEEDED.value:
        return None
    done = {key: known[key] for key in ("totalSteps", "metrics") if key in known}
    if "totalSteps" in known:
        done["step"] = known["totalSteps"]
    done |= {"phase": "Done", "percent": 100, "summary": "100%"}
    return None if known == done else done
