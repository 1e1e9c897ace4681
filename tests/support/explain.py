"""A readable account of an object, its events and its pods: the message of a wait that failed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.support.kube import ApiError, Kube, Object

LOG_LINES = 15
MAX_EVENTS = 12
MAX_PODS = 4


def condition(obj: Object | None, kind: str) -> Object | None:
    """The condition of a type in an object's status."""
    conditions = ((obj or {}).get("status") or {}).get("conditions") or []
    return next((c for c in conditions if c.get("type") == kind), None)


def conditions_text(obj: Object) -> list[str]:
    """One line a condition: `Ready=False (NotYet): no pod`."""
    lines = []
    for c in (obj.get("status") or {}).get("conditions") or []:
        reason = f" ({c['reason']})" if c.get("reason") else ""
        message = f": {c['message']}" if c.get("message") else ""
        lines.append(f"{c.get('type')}={c.get('status')}{reason}{message}")
    return lines


def container_text(status: dict[str, Any]) -> str:
    """One line a container: its state, why, restarts."""
    parts = [f"{status['name']}:"]
    for label, state in (("", status.get("state") or {}), ("before: ", status.get("lastState") or {})):
        for name, detail in state.items():
            facts = [f"exit {detail['exitCode']}"] if "exitCode" in detail else []
            facts += [str(detail[key]) for key in ("reason", "message") if detail.get(key)]
            parts.append(f"{label}{name}" + (f" ({', '.join(facts)})" if facts else ""))
    if status.get("restartCount"):
        parts.append(f"{status['restartCount']} restarts")
    return " ".join(parts)


def container_statuses(pod: Object) -> list[dict[str, Any]]:
    """Statuses of all containers of a pod, init containers first."""
    status = pod.get("status") or {}
    return [c for key in ("initContainerStatuses", "containerStatuses") for c in status.get(key) or []]


def event_time(event: Object) -> str:
    """When an event last happened, whichever of its fields says so."""
    series = event.get("series") or {}
    return str(
        series.get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
        or event.get("firstTimestamp")
        or event["metadata"].get("creationTimestamp")
    )


def event_text(event: Object) -> str:
    """One line an event."""
    about = event.get("involvedObject", {})
    count = f" x{event['count']}" if event.get("count", 1) > 1 else ""
    return (
        f"{event_time(event)} {event.get('type', '')} {event.get('reason', '')} "
        f"{about.get('kind', '')}/{about.get('name', '')}{count}: {event.get('message', '')}"
    )


def owned_uids(objects: Iterable[Object], owner: str) -> set[str]:
    """The uids of everything below the object of uid `owner`, itself included."""
    parents = {
        obj["metadata"]["uid"]: {ref["uid"] for ref in obj["metadata"].get("ownerReferences", [])}
        for obj in objects
    }
    found = {owner}
    while more := {uid for uid, refs in parents.items() if uid not in found and refs & found}:
        found |= more
    return found


def _log_text(kube: Kube, pod: Object, container: str) -> list[str]:
    meta = pod["metadata"]
    try:
        tail = kube.logs(meta["name"], meta["namespace"], container=container, tail=LOG_LINES)
    except ApiError as error:  # no node, no container yet: that, too, is something to tell
        return [f"    no log: {error.message}"]
    return [f"    | {line}" for line in tail.splitlines()]


def _pod_text(kube: Kube, pod: Object) -> list[str]:
    status = pod.get("status") or {}
    lines = [
        f"pod {pod['metadata']['name']}: {status.get('phase', '?')} {status.get('message', '')}".rstrip()
    ]
    lines += [f"  {line}" for line in conditions_text(pod) if "=False" in line]
    for container in container_statuses(pod):
        lines.append(f"  {container_text(container)}")
        if "waiting" not in (container.get("state") or {}) or container.get("restartCount"):
            lines += _log_text(kube, pod, container["name"])
    return lines


def explain(kube: Kube, kind: str, name: str, namespace: str | None) -> str:
    """What the API server knows about an object: phase, conditions, its events, its pods and their logs."""
    obj = kube.find(kind, name, namespace)
    if obj is None:
        return f"{kind} {name} does not exist"
    status = obj.get("status") or {}
    plain = {k: v for k, v in status.items() if isinstance(v, str | int | bool)}
    lines = [f"{kind} {name}: status {plain}" if plain else f"{kind} {name}: no plain status fields"]
    lines += [f"  {line}" for line in conditions_text(obj)]
    if namespace is None:
        return "\n".join(lines)
    pods = kube.list("Pod", namespace)
    between = [found for middle in ("ReplicaSet.apps", "Job.batch") for found in kube.list(middle, namespace)]
    uids = owned_uids([*pods, *between], obj["metadata"]["uid"])
    events = [e for e in kube.list("Event", namespace) if e.get("involvedObject", {}).get("uid") in uids]
    lines += ["events:", *(f"  {event_text(e)}" for e in sorted(events, key=event_time)[-MAX_EVENTS:])]
    mine = [pod for pod in pods if pod["metadata"]["uid"] in uids]
    for pod in mine[:MAX_PODS]:
        lines += _pod_text(kube, pod)
    if len(mine) > MAX_PODS:
        lines.append(f"and {len(mine) - MAX_PODS} more pods")
    return "\n".join(lines)
