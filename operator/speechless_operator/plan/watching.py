"""A Job that has not ended: where it stands, from itself, its pods, and what its controller complains of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from speechless_operator.api.reasons import Reason
from speechless_operator.desired.inputs import Run
from speechless_operator.desired.mounts import Mounts
from speechless_operator.desired.objects import Object
from speechless_operator.plan import diagnosis
from speechless_operator.plan.conditions import Aspect
from speechless_operator.plan.outcome import Held


def out_of_memory(pods: Iterable[Object]) -> bool:
    """Whether an attempt was ended by the kernel for its memory."""
    return any(diagnosis.oom_killed(pod) for pod in pods)


def is_running(pod: Object) -> bool:
    """Whether a pod runs."""
    return diagnosis.phase_of(pod) == "Running"


def is_alive(pod: Object) -> bool:
    """Whether a pod may still write: it has not ended, whatever was asked of it."""
    return diagnosis.phase_of(pod) not in ("Succeeded", "Failed")


def held(found: Held) -> Aspect:
    """The stage has ended, and its pod has not."""
    names = ", ".join(found.containers)
    message = (
        f"the stage has ended, and container {names} keeps its pod alive; half a minute later the result is "
        "taken and the pod ended. An injected sidecar is switched off by spec.pod.annotations or labels, such as "
        'sidecar.istio.io/inject: "false"'
    )
    return Aspect("Progressing", True, Reason.SIDECAR_RUNNING, message)


def progressing(run: Run, job: Object, pods: Sequence[Object], events: Iterable[Object]) -> Aspect:
    """The aspect Progressing of a Job that may run and has not ended."""
    live = [pod for pod in pods if is_alive(pod)]
    failed = [pod for pod in pods if diagnosis.ended_badly(pod)]
    attempt = f" (attempt {len(failed) + 1})" if failed else ""
    pod = diagnosis.newest(live)
    if pod is not None:
        return _live(run, pod, attempt)
    if any(diagnosis.phase_of(pod) == "Succeeded" for pod in pods):
        return Aspect("Progressing", True, Reason.FINISHING, "the pod is done; its Job is being closed")
    if failed:
        last = diagnosis.newest(failed)
        told = diagnosis.failure(last, None) if last else {}
        message = f"attempt {len(failed)} failed: {told['reason']}: {told['message']}"
        return Aspect("Progressing", False, Reason.RETRYING, message)
    complaint = diagnosis.refused_pods(events, job["metadata"]["uid"])
    if complaint is not None:
        return _stuck(*complaint)
    return starting(run)


def starting(run: Run, attempt: str = "") -> Aspect:
    """Nothing is known of the pod yet, or that it has no container yet.

    Without the pod's name: it would be one more write of the status, and tell nothing. Secrets are named, because a pod
    whose Secret is missing says so in an Event of the kubelet alone.
    """
    secrets = Mounts.of(run).secrets
    needs = f"; it needs the Secret{'s' * (len(secrets) > 1)} {', '.join(secrets)}" if secrets else ""
    return Aspect("Progressing", True, Reason.STARTING, f"the Job's pod is made and starts{needs}{attempt}")


def _live(run: Run, pod: Object, attempt: str) -> Aspect:
    stuck = diagnosis.obstacle(pod)
    if stuck is not None:
        return _stuck(*stuck)
    if is_running(pod):
        return Aspect("Progressing", True, Reason.RUNNING, f"pod {pod['metadata']['name']} runs{attempt}")
    return starting(run, attempt)


def _stuck(reason: Reason, message: str) -> Aspect:
    return Aspect("Progressing", False, reason, diagnosis.with_hint(reason, message))
