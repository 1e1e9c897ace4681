"""What is wrong with a pod, in the words of this project: from waiting containers, exit codes and stage results."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from speechless.contract import FailureReason, StageResult
from speechless_operator.api.reasons import Reason
from speechless_operator.desired.objects import Object
from speechless_operator.desired.pod import CONTAINER
from speechless_operator.plan.accept import log_tail, parse_time, stage_result, text
from speechless_operator.plan.trouble import hint, refusal

_MESSAGE, _HINT = 3000, 1000

_WAITING = {
    "ErrImagePull": Reason.IMAGE_PULL_FAILED,
    "ImagePullBackOff": Reason.IMAGE_PULL_FAILED,
    "ErrImageNeverPull": Reason.IMAGE_PULL_FAILED,
    "InvalidImageName": Reason.IMAGE_PULL_FAILED,
    "ImageInspectError": Reason.IMAGE_PULL_FAILED,
    "RegistryUnavailable": Reason.IMAGE_PULL_FAILED,
    "CreateContainerConfigError": Reason.CONTAINER_NOT_CREATED,
    "CreateContainerError": Reason.CONTAINER_NOT_CREATED,
    "RunContainerError": Reason.CONTAINER_NOT_CREATED,
    "CrashLoopBackOff": Reason.CRASH_LOOPING,
}
_HINTS = {
    Reason.OOM_KILLED: "raise spec.pod.resources.limits.memory, or make the work smaller (batch size, lengths)",
    Reason.IMAGE_PULL_FAILED: "check the image's name, and spec.pod.imagePullSecrets where its registry wants a login",
    Reason.CONTAINER_NOT_CREATED: "check what the pod mounts and its variables; image:// needs containerd 2.1 or "
    "CRI-O 1.31 on the node",
    Reason.UNSCHEDULABLE: "lower spec.pod.resources, or make room: a claim that is missing is told here, too",
}
_SIGKILL = 137


def container_status(pod: Object) -> Object:
    """The status of the stage's container; empty before the kubelet has one."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return next((dict(status) for status in statuses if status.get("name") == CONTAINER), {})


def terminated(pod: Object) -> Object | None:
    """How the container ended: now, or before its last restart."""
    status = container_status(pod)
    for state in (status.get("state") or {}, status.get("lastState") or {}):
        if "terminated" in state:
            return dict(state["terminated"])
    return None


def runs_for(pod: Object, now: datetime) -> timedelta:
    """How long the container has run since it was started last; nothing where it does not run."""
    running = (container_status(pod).get("state") or {}).get("running") or {}
    since = parse_time(str(running.get("startedAt") or ""))
    return max(now - since, timedelta()) if since else timedelta()


def ended_now(pod: Object) -> Object | None:
    """How the container ended, if it has and was not started again."""
    state = container_status(pod).get("state") or {}
    return dict(state["terminated"]) if "terminated" in state else None


def kept_alive_by(pod: Object) -> list[str]:
    """The containers that still run though the stage's has ended: an injected sidecar, such as a mesh's proxy."""
    if phase_of(pod) != "Running" or ended_now(pod) is None:
        return []
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return [
        str(status.get("name"))
        for status in statuses
        if status.get("name") != CONTAINER and "running" in (status.get("state") or {})
    ]


def result_of(pod: Object) -> StageResult | None:
    """What the stage said at its end, if it said anything."""
    ended = terminated(pod)
    return stage_result(ended.get("message")) if ended else None


def phase_of(pod: Object) -> str:
    """The pod's phase; empty before it has one."""
    return str((pod.get("status") or {}).get("phase") or "")


def disrupted(pod: Object) -> str:
    """Why the cluster ended the pod (preemption, eviction, a drained node); empty where it did not."""
    for condition in (pod.get("status") or {}).get("conditions") or []:
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            return f"{condition.get('reason', '')}: {condition.get('message', '')}".strip(": ")
    return ""


def oom_killed(pod: Object) -> bool:
    """Whether the kernel ended the container for its memory."""
    ended = terminated(pod)
    return ended is not None and ended.get("reason") == "OOMKilled"


def ended_badly(pod: Object) -> bool:
    """Whether the pod, or its container before a restart, failed."""
    ended = terminated(pod)
    return phase_of(pod) == "Failed" or (ended is not None and ended.get("exitCode") != 0)


def obstacle(pod: Object) -> tuple[Reason, str] | None:
    """What keeps a pod from running, if something does."""
    state = (container_status(pod).get("state") or {}).get("waiting") or {}
    reason = _WAITING.get(state.get("reason", ""))
    if reason is not None:
        return reason, f"pod {_name(pod)}: {state['reason']}: {state.get('message', '')}".rstrip(": ")
    # A node's word outweighs the scheduler's: a container that has a state has a node.
    if container_status(pod):
        return None
    for condition in (pod.get("status") or {}).get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return Reason.UNSCHEDULABLE, f"pod {_name(pod)}: {condition.get('message', '')}"
    return None


def refused_pods(events: Iterable[Object], uid: str) -> tuple[Reason, str] | None:
    """What the Job controller says of pods that it could not make."""
    about = [
        e
        for e in events
        if e.get("involvedObject", {}).get("uid") == uid and e.get("reason") == "FailedCreate"
    ]
    if not about:
        return None
    newest = max(
        about, key=lambda event: str(event.get("lastTimestamp") or event["metadata"].get("creationTimestamp"))
    )
    message = str(newest.get("message", ""))
    reason = refusal(message)
    return (Reason.POD_REFUSED if reason is Reason.CHILD_REFUSED else reason), message


def with_hint(reason: Reason, message: str) -> str:
    """A message that ends with what to do, where that is known."""
    words = _HINTS.get(reason) or hint(reason, message)
    return text(f"{text(message, _MESSAGE)}\n{words}" if words else message)


def failure(pod: Object, logs: str | None) -> Object:
    """status.failure of a pod that failed: by its stage's own word, else by how its container ended."""
    ended = terminated(pod) or {}
    result = result_of(pod)
    made: Object = {"pod": _name(pod)}
    if isinstance(ended.get("exitCode"), int):
        made["exitCode"] = ended["exitCode"]
    if result is not None and result.failure is not None:
        reason = Reason(result.failure.reason.value)
        made |= {"reason": reason.value, "message": text(result.failure.message, _MESSAGE)}
        advice = result.failure.hint
    else:
        reason, message = _by_exit(pod, ended)
        made |= {"reason": reason.value, "message": text(message, _MESSAGE)}
        advice = _HINTS.get(reason, "")
    if advice:
        made["hint"] = text(advice, _HINT)
    if logs and (tail := log_tail(logs)):
        made["logTail"] = tail
    return made


def _by_exit(pod: Object, ended: Object) -> tuple[Reason, str]:
    status, name = pod.get("status") or {}, _name(pod)
    if status.get("reason"):  # the kubelet ended the pod as a whole: Evicted, NodeShutdown, ...
        return Reason.INTERRUPTED, f"pod {name}: {status['reason']}: {status.get('message', '')}"
    code = ended.get("exitCode")
    if ended.get("reason") == "OOMKilled":
        what = f"pod {name}: the kernel ended the container: out of memory (exit code {code})"
        return Reason.OOM_KILLED, what
    if why := disrupted(pod):
        return Reason.INTERRUPTED, f"pod {name}: the cluster ended it: {why}"
    if code is None:
        return Reason.STAGE_FAILED, f"pod {name} failed before its container ran"
    if code == _SIGKILL:
        how = "the pod was deleted, and" if "deletionTimestamp" in pod["metadata"] else "it"
        what = f"pod {name}: the container was killed (exit code 137): {how} did not end in time after SIGTERM, or "
        return Reason.INTERRUPTED, what + "somebody on the node sent SIGKILL"
    known = {r.exit_code.value: r for r in FailureReason if r is FailureReason.OUT_OF_MEMORY}
    reason = Reason(known[code].value) if code in known else Reason.STAGE_FAILED
    said = str(ended.get("message") or "").strip()
    detail = f": {said}" if said else ""
    return (
        reason,
        f"pod {name}: the container ended with exit code {code} ({ended.get('reason', '?')}){detail}",
    )


def newest(pods: Iterable[Object]) -> Object | None:
    """The pod that was made last."""
    return max(
        pods, key=lambda pod: (str(pod["metadata"].get("creationTimestamp")), _name(pod)), default=None
    )


def _name(pod: Object) -> str:
    return str(pod["metadata"]["name"])
