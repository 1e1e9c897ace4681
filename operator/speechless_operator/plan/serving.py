"""What an InferenceService serves now, how its pods are, and how its gate stands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from speechless_operator.api.inferenceservice import (
    GATE_OVERRIDE,
    GATE_OVERRIDE_BY,
    GATE_OVERRIDE_UNTIL,
    InferenceServiceSpec,
)
from speechless_operator.api.reasons import Reason
from speechless_operator.desired import deployment, service
from speechless_operator.desired.children import RUN_ANNOTATION
from speechless_operator.desired.inputs import Input, Run, read_inputs
from speechless_operator.desired.objects import LABEL_REVISION, Object, Owner
from speechless_operator.plan import accept, diagnosis, gates
from speechless_operator.plan.conditions import Aspect
from speechless_operator.plan.observed import Observed
from speechless_operator.plan.trouble import hint, refusal


@dataclass(frozen=True)
class Current:
    """The revision that serves."""

    revision: str
    deployment: Object | None
    """None: somebody deleted it."""


@dataclass(frozen=True)
class Gate:
    """How the gate stands for the wanted model. Without a gate it is open, and there is nothing to tell."""

    open: bool
    aspect: Aspect | None
    status: Object
    again_after: float | None = None
    """Seconds until an override ends."""


def current(observed: Observed) -> Current | None:
    """What is served now: what the status remembers; where it remembers nothing, what the stable Service selects.

    The status first: it was written before the Service moved. A Service that somebody deleted or edited says nothing of
    what serves, and one that has not moved yet will.
    """
    told = str(observed.status.get("servingRevision") or "")
    found = observed.named("Service", observed.owner.name)
    selected = service.selected_revision(found) if found else ""
    deployments = {deployment.revision_of(d): d for d in observed.of("Deployment")}
    kept = {deployment.revision_of(c) for c in observed.of("ConfigMap")}
    for revision in (told, selected):
        if revision and (revision in deployments or revision in kept):
            return Current(revision, deployments.get(revision))
    return None


def pinned(observed: Observed, named: tuple[str, str]) -> Input | None:
    """The model of this resource as it was resolved before: its artifact stays when the resource goes."""
    status = observed.status
    wanted = str(status.get("revision") or "")
    found: list[Input] = []
    for child in observed.of("Deployment"):
        if deployment.revision_of(child) == wanted:
            annotations = child["metadata"].get("annotations") or {}
            run = Run.from_json(annotations.get(RUN_ANNOTATION))
            found += run.inputs if run else ()
    found += read_inputs(status.get("inputs"))
    artifact = status.get("artifact") or {}
    for entry in found:
        if entry.name == "model" and (entry.kind, entry.resource) == named and entry.digest:
            if entry.format is None and artifact.get("digest") == entry.digest:
                return Input.read(
                    entry.status()
                    | {"format": artifact.get("format"), "sizeBytes": artifact.get("sizeBytes")}
                )
            return entry
    return None


# --------------------------------------------------------------------------------------------------------------- gate


def gate(observed: Observed, spec: InferenceServiceSpec, digest: str | None, now: datetime) -> Gate:
    """Whether the artifact of this digest may be served."""
    if spec.gate is None:
        return Gate(True, None, {})
    before = observed.status.get("gate") or {}
    known = before.get("evaluations") if digest and before.get("digest") == digest else None
    by_name = {str(e.get("name")): e for e in known or [] if isinstance(e, dict)}
    found = gates.verdicts(spec.gate, digest, observed.references, by_name)
    status: Object = {"evaluations": [verdict.status() for verdict in found]}
    if digest:
        status["digest"] = digest
    against = [verdict for verdict in found if not verdict.passed]
    if not against:
        text = "; ".join(verdict.message for verdict in found)
        return Gate(True, Aspect("GatePassed", True, Reason.GATES_PASSED, text), status)
    text = "; ".join(verdict.message for verdict in against)
    final = any(verdict.final for verdict in against)
    override = _override(observed, now)
    if override is not None and override.counts:
        status["override"] = override.status | ({"digest": digest} if digest else {})
        text = f"opened by hand ({GATE_OVERRIDE}): {override.text}; {text}"
        return Gate(True, Aspect("GatePassed", True, Reason.OVERRIDDEN, text), status, override.seconds)
    if override is not None:
        text = f"{override.text}; {text}"
    reason = Reason.GATE_FAILED if final else Reason.WAITING_FOR_INPUT
    return Gate(False, Aspect("GatePassed", False, reason, text, stalled=final), status)


@dataclass(frozen=True)
class _Override:
    counts: bool
    text: str
    status: Object
    seconds: float | None


def _override(observed: Observed, now: datetime) -> _Override | None:
    """The override of the annotations: its reason, its actor, its end."""
    annotations = observed.obj["metadata"].get("annotations") or {}
    why = accept.text(annotations.get(GATE_OVERRIDE, ""), 512).strip()
    if not why:
        return None
    by = accept.text(annotations.get(GATE_OVERRIDE_BY, ""), 256).strip()
    until = str(annotations.get(GATE_OVERRIDE_UNTIL, "")).strip()
    status = {"reason": why} | ({"by": by} if by else {}) | ({"until": until[:64]} if until else {})
    text = why + (f" (by {by})" if by else "")
    if not until:
        return _Override(True, text, status, None)
    end = accept.parse_time(until)
    if end is None or end.tzinfo is None:
        said = accept.text(until, 64)
        text = f"{GATE_OVERRIDE_UNTIL}: {said} is no time such as 2026-01-31T18:00:00Z: it does not count"
        return _Override(False, text, status, None)
    left = (end - now).total_seconds()
    if left <= 0:
        return _Override(False, f"the override by hand ended at {until[:64]}", status, None)
    return _Override(True, f"{text}, until {until[:64]}", status, left)


# ------------------------------------------------------------------------------------------------------------- health


@dataclass(frozen=True)
class Health:
    """How a Deployment is."""

    aspect: Aspect
    failure: Object | None = None
    logs: tuple[str, ...] = ()
    """Pods whose logs are wanted before that can be told."""


def health(observed: Observed, found: Object, replicas: int, now: datetime) -> Health:
    """How a Deployment is, that is to have so many pods.

    A pod that is not ready is told by how its container ended before, but not by what it has outlived: a container
    that has run for `_OUTLIVED` since is not ready for another reason.
    """
    revision = deployment.revision_of(found)
    if deployment.is_ready(found, replicas):
        if replicas == 0:
            return Health(Aspect("Progressing", True, Reason.SCALED_TO_ZERO, _NOTHING))
        return Health(Aspect("Progressing", True, Reason.AVAILABLE, f"revision {revision} serves"))
    pods = [
        pod
        for pod in observed.of("Pod")
        if (pod["metadata"].get("labels") or {}).get(LABEL_REVISION) == revision
        and "deletionTimestamp" not in pod["metadata"]
        and not _serves(pod)
    ]
    recent = [pod for pod in pods if diagnosis.runs_for(pod, now) < _OUTLIVED]
    broken = diagnosis.newest(pod for pod in recent if diagnosis.ended_badly(pod))
    if broken is not None:
        name = broken["metadata"]["name"]
        if name not in observed.logs:
            return Health(_waits(found), logs=(name,))
        told = diagnosis.failure(broken, observed.logs[name])
        message = told["message"] + (f"\n{told['hint']}" if told.get("hint") else "")
        # Only what cannot pass by itself is a stall: Kubernetes starts the container again and again.
        final = told["reason"] in _FINAL
        return Health(Aspect("Progressing", False, Reason(told["reason"]), message, stalled=final), told)
    for pod in pods:
        if (stuck := diagnosis.obstacle(pod)) is not None:
            return Health(Aspect("Progressing", False, stuck[0], diagnosis.with_hint(*stuck)))
    return Health(_complaint(found) or _waits(found))


_OUTLIVED = timedelta(minutes=10)
"""Kubernetes waits at most 5 minutes before it starts a container again."""
_NOTHING = "spec.replicas is 0: nothing serves"
_FINAL = frozenset(
    {
        Reason.INVALID_SPEC.value,
        Reason.DIGEST_MISMATCH.value,
        Reason.MODEL_INVALID.value,
        Reason.INPUT_NOT_FOUND.value,
        Reason.INPUT_FORBIDDEN.value,
        Reason.OOM_KILLED.value,
        Reason.OUT_OF_MEMORY.value,
    }
)


def _serves(pod: Object) -> bool:
    """Whether a pod is ready: what its container went through before is history."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)
    return ready or bool(diagnosis.container_status(pod).get("ready"))


def _complaint(found: Object) -> Aspect | None:
    """What the Deployment's own controllers say of pods that they could not make, or that took too long."""
    for condition in (found.get("status") or {}).get("conditions") or []:
        message = str(condition.get("message", ""))
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            reason = refusal(message)
            reason = Reason.POD_REFUSED if reason is Reason.CHILD_REFUSED else reason
            words = hint(reason, message)
            return Aspect("Progressing", False, reason, f"{message}\n{words}" if words else message)
        if condition["type"] == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            return Aspect("Progressing", False, Reason.NOT_AVAILABLE, message, stalled=True)
    return None


def _waits(found: Object) -> Aspect:
    ready = (found.get("status") or {}).get("availableReplicas") or 0
    text = f"{ready} of {deployment.replicas_of(found)} pods are ready"
    return Aspect("Progressing", True, Reason.ROLLING_OUT, text, moving=True)


def available(observed: Observed, found: Current | None, replicas: int) -> Aspect:
    """The condition Available: whether something answers now, whichever revision the Service selects at this moment."""
    if found is None:
        return Aspect("Available", False, Reason.NOT_AVAILABLE, "nothing is served yet")
    if found.deployment is None:
        message = f"the Deployment of revision {found.revision} is gone: it is made again"
        return Aspect("Available", False, Reason.NOT_AVAILABLE, message)
    asked = observed.named("Service", observed.owner.name)
    selected = service.selected_revision(asked) if asked else ""
    answers = next((d for d in observed.of("Deployment") if deployment.revision_of(d) == selected), None)
    if answers is None:
        message = f"revision {found.revision} is ready: the Service is made"
        return Aspect("Available", False, Reason.NOT_AVAILABLE, message)
    if replicas == 0:
        return Aspect("Available", False, Reason.SCALED_TO_ZERO, _NOTHING, as_wanted=True)
    if ((answers.get("status") or {}).get("availableReplicas") or 0) > 0:
        return Aspect("Available", True, Reason.AVAILABLE, f"revision {selected} serves")
    return Aspect("Available", False, Reason.NOT_AVAILABLE, f"revision {selected} has no ready pod")


def status(found: Current, owner: Owner, old: Object) -> Object:
    """What is said of the served revision. What is not known of it any more stays as it was said."""
    made: Object = {
        "url": service.url(owner),
        "servingRevision": found.revision,
        "replicas": 0,
        "readyReplicas": 0,
    }
    annotations = found.deployment["metadata"].get("annotations") or {} if found.deployment else {}
    run = Run.from_json(annotations.get(RUN_ANNOTATION))
    model = next((entry for entry in run.inputs if entry.name == "model"), None) if run else None
    if found.deployment is not None:
        told = found.deployment.get("status") or {}
        made |= {"replicas": told.get("replicas") or 0, "readyReplicas": told.get("readyReplicas") or 0}
    if model is None:
        kept = {key: old[key] for key in ("inputs", "artifact") if key in old}
        return made | (kept if old.get("servingRevision") == found.revision else {})
    artifact = model.artifact()
    return made | {"inputs": [model.status()]} | ({"artifact": artifact} if artifact else {})
