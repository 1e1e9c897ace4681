"""What is wrong with a pod, in the words of this project: from waiting containers, exit codes and stage results."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pydantic import ValidationError

from speechless.contract import FailureReason, StageResult
from speechless_operator.api.reasons import Reason
from speechless_operator.desired.objects import Object
from speechless_operator.desired.pod import CONTAINER
from speechless_operator.plan.conditions import Phase, State

LOG_LINES = 20
LOG_BYTES = 2048
_MESSAGE = 3000

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
    Reason.UNSCHEDULABLE: "lower spec.pod.resources, or make room: a claim that is missing is told here, too",
    Reason.POD_REFUSED: "the namespace's Pod Security level or a policy refuses the pod; the message says which rule",
    Reason.QUOTA_EXCEEDED: "raise the namespace's quota, or set spec.pod.resources within it",
}
_OOM_EXIT = 137


def container_status(pod: Object) -> Object:
    """The status of the pod's one container; empty before the kubelet has one."""
    statuses = pod.get("status", {}).get("containerStatuses", [])
    return next((dict(status) for status in statuses if status["name"] == CONTAINER), {})


def terminated(pod: Object) -> Object | None:
    """How the container ended: now, or before its last restart."""
    status = container_status(pod)
    for state in (status.get("state", {}), status.get("lastState", {})):
        if "terminated" in state:
            return dict(state["terminated"])
    return None


def result_of(pod: Object) -> StageResult | None:
    """What the stage said at its end, if it said anything."""
    ended = terminated(pod)
    if ended is None:
        return None
    try:
        return StageResult.model_validate_json(ended.get("message", ""))
    except ValidationError:
        return None


def oom_killed(pod: Object) -> bool:
    """Whether the kernel ended the container for its memory."""
    ended = terminated(pod)
    return ended is not None and ended.get("reason") == "OOMKilled"


def ended_badly(pod: Object) -> bool:
    """Whether the pod, or its container before a restart, failed."""
    ended = terminated(pod)
    return pod.get("status", {}).get("phase") == "Failed" or (
        ended is not None and ended.get("exitCode") != 0
    )


def obstacle(pod: Object) -> tuple[Reason, str] | None:
    """What keeps a pod from running, if something does."""
    state = container_status(pod).get("state", {}).get("waiting", {})
    reason = _WAITING.get(state.get("reason", ""))
    if reason is not None:
        return reason, f"pod {_name(pod)}: {state['reason']}: {state.get('message', '')}".rstrip(": ")
    # A node's word outweighs the scheduler's: a container that has a state has a node.
    if container_status(pod):
        return None
    for condition in pod.get("status", {}).get("conditions", []):
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return Reason.UNSCHEDULABLE, f"pod {_name(pod)}: {condition.get('message', '')}"
    return None


def refusal(text: str) -> Reason:
    """Why the API server did not take a pod or another object, from its message."""
    if "exceeded quota" in text or "failed quota" in text:
        return Reason.QUOTA_EXCEEDED
    if "PodSecurity" in text or re.search(r"pods? .*is forbidden|admission webhook", text):
        return Reason.POD_REFUSED
    return Reason.CHILD_REFUSED


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
        about, key=lambda event: event.get("lastTimestamp") or event["metadata"]["creationTimestamp"]
    )
    message = str(newest.get("message", ""))
    reason = refusal(message)
    return (Reason.POD_REFUSED if reason is Reason.CHILD_REFUSED else reason), message


def hint_state(phase: Phase, reason: Reason, message: str) -> State:
    """A state whose message ends with what to do, where that is known."""
    hint = _HINTS.get(reason)
    return State(phase, reason, f"{message}\n{hint}" if hint else message)


def failure(pod: Object, logs: str | None) -> Object:
    """status.failure of a pod that failed: by its stage's own word, else by how its container ended."""
    ended = terminated(pod) or {}
    result = result_of(pod)
    made: Object = {"pod": _name(pod)}
    if "exitCode" in ended:
        made["exitCode"] = ended["exitCode"]
    if result is not None and result.failure is not None:
        made |= {"reason": result.failure.reason.value, "message": result.failure.message[:_MESSAGE]}
        hint: str | None = result.failure.hint[:1000]
    else:
        reason, message = _by_exit(pod, ended)
        made |= {"reason": reason.value, "message": message[:_MESSAGE]}
        hint = _HINTS.get(reason)
    if hint:
        made["hint"] = hint
    if logs:
        made["logTail"] = tail(logs)
    return made


def _by_exit(pod: Object, ended: Object) -> tuple[Reason, str]:
    status = pod.get("status", {})
    if status.get("reason"):  # the kubelet ended the pod as a whole: Evicted, NodeShutdown, ...
        return Reason.INTERRUPTED, f"pod {_name(pod)}: {status['reason']}: {status.get('message', '')}"
    code = ended.get("exitCode")
    if ended.get("reason") == "OOMKilled" or (ended.get("reason") == "Error" and code == _OOM_EXIT):
        return (
            Reason.OOM_KILLED,
            f"pod {_name(pod)}: the kernel ended the container: out of memory (exit code {code})",
        )
    if code is None:
        return Reason.STAGE_FAILED, f"pod {_name(pod)} failed before its container ran"
    known = {
        reason.exit_code.value: reason for reason in FailureReason if reason is FailureReason.OUT_OF_MEMORY
    }
    reason = Reason(known[code].value) if code in known else Reason.STAGE_FAILED
    said = str(ended.get("message", "")).strip()
    detail = f": {said}" if said else ""
    return (
        reason,
        f"pod {_name(pod)}: the container ended with exit code {code} ({ended.get('reason', '?')}){detail}",
    )


def tail(text: str) -> str:
    """The last lines of a log, 20 and 2 KiB at most.

    >>> tail("a\\nb\\n")
    'a\\nb'
    """
    last = "\n".join(text.rstrip().splitlines()[-LOG_LINES:])
    return last.encode()[-LOG_BYTES:].decode(errors="ignore")


def newest(pods: Iterable[Object]) -> Object | None:
    """The pod that was made last."""
    return max(pods, key=lambda pod: (pod["metadata"]["creationTimestamp"], _name(pod)), default=None)


def _name(pod: Object) -> str:
    return str(pod["metadata"]["name"])
