"""A Job that has not ended: where it stands, from itself, its pods, and what its controller complains of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from speechless_operator.api.reasons import Reason
from speechless_operator.desired.objects import Object
from speechless_operator.plan import diagnosis
from speechless_operator.plan.conditions import Phase, State
from speechless_operator.plan.observed import Refusal

CONFLICT = 409


def belongs(pod: Object, job: Object) -> bool:
    """Whether a pod is one of a Job's."""
    uid = job["metadata"]["uid"]
    return any(ref["uid"] == uid for ref in pod["metadata"].get("ownerReferences", []))


def out_of_memory(pods: Iterable[Object]) -> bool:
    """Whether an attempt was ended by the kernel for its memory."""
    return any(diagnosis.oom_killed(pod) for pod in pods)


def times(job: Object) -> Object:
    """status.startTime and completionTime as the Job has them."""
    status = job.get("status", {})
    return {key: status[key] for key in ("startTime", "completionTime") if key in status}


def refused(refusals: Sequence[Refusal]) -> State | None:
    """The state of a resource whose child the API server did not take."""
    if not refusals:
        return None
    first = refusals[0]
    message = f"{first.kind} {first.name}: {first.message}"
    if first.code == CONFLICT:
        return State(Phase.STALLED, Reason.NAME_CONFLICT, message)
    return diagnosis.hint_state(Phase.PENDING, diagnosis.refusal(first.message), message)


def state(job: Object, pods: Sequence[Object], events: Iterable[Object]) -> State:
    """Where a Job that has not ended stands."""
    if job["spec"].get("suspend") and not any(_running(pod) for pod in pods):
        return State(Phase.SUSPENDED, Reason.SUSPENDED, "spec.suspend is true: the run waits")
    live = [pod for pod in pods if pod.get("status", {}).get("phase") in (None, "Pending", "Running")]
    failed = [pod for pod in pods if diagnosis.ended_badly(pod)]
    attempt = f" (attempt {len(failed) + 1})" if failed else ""
    pod = diagnosis.newest(live)
    if pod is not None:
        return _live(pod, attempt)
    if any(pod.get("status", {}).get("phase") == "Succeeded" for pod in pods):
        return State(Phase.RUNNING, Reason.FINISHING, "the pod is done; its Job is being closed")
    if failed:
        last = diagnosis.newest(failed)
        told = diagnosis.failure(last, None) if last else {}
        return State(
            Phase.PENDING,
            Reason.RETRYING,
            f"attempt {len(failed)} failed: {told['reason']}: {told['message']}",
        )
    complaint = diagnosis.refused_pods(events, job["metadata"]["uid"])
    if complaint is not None:
        return diagnosis.hint_state(Phase.PENDING, *complaint)
    return State(Phase.PENDING, Reason.STARTING, "the Job's pod is being made")


def _live(pod: Object, attempt: str) -> State:
    name = pod["metadata"]["name"]
    stuck = diagnosis.obstacle(pod)
    if stuck is not None:
        return diagnosis.hint_state(Phase.PENDING, *stuck)
    if _running(pod):
        return State(Phase.RUNNING, Reason.RUNNING, f"pod {name} runs{attempt}")
    return State(Phase.PENDING, Reason.STARTING, f"pod {name} starts{attempt}")


def _running(pod: Object) -> bool:
    return bool(pod.get("status", {}).get("phase") == "Running")
