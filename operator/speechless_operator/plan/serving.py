"""What an InferenceService serves now, how its pods are, and how its gate stands."""

from __future__ import annotations

from dataclasses import dataclass

from speechless_operator.api.inferenceservice import GATE_OVERRIDE, InferenceServiceSpec
from speechless_operator.api.reasons import Reason
from speechless_operator.desired import deployment, service
from speechless_operator.desired.inputs import Run
from speechless_operator.desired.job import RUN_ANNOTATION
from speechless_operator.desired.objects import LABEL_REVISION, Object, Owner
from speechless_operator.plan import diagnosis, gates
from speechless_operator.plan.conditions import Aspect, Phase, State
from speechless_operator.plan.observed import Observed, Patch


@dataclass(frozen=True)
class Current:
    """The revision that the Service selects, while its Deployment is there."""

    revision: str
    deployment: Object


@dataclass(frozen=True)
class Gate:
    """How the gate stands for the wanted model. Without a gate it is open, and there is nothing to tell."""

    open: bool
    state: State
    aspect: Aspect | None
    status: Object


@dataclass(frozen=True)
class Health:
    """How a Deployment is."""

    state: State
    failure: Object | None = None


def current(observed: Observed) -> Current | None:
    """What is served now: told by the cluster, so that a new operator knows it, too."""
    found = observed.named("Service", observed.owner.name)
    if found is None:
        return None
    revision = service.selected_revision(found)
    serves = next((d for d in observed.of("Deployment") if deployment.revision_of(d) == revision), None)
    return Current(revision, serves) if serves is not None else None


def gate(observed: Observed, spec: InferenceServiceSpec, digest: str | None) -> Gate:
    """Whether the artifact of this digest may be served."""
    if spec.gate is None:
        return Gate(True, State(Phase.READY, Reason.GATES_PASSED, "no gate"), None, {})
    found = gates.verdicts(spec.gate, digest, observed.references)
    status: Object = {"evaluations": [verdict.status() for verdict in found]}
    if digest:
        status["digest"] = digest
    against = [verdict for verdict in found if not verdict.passed]
    if not against:
        text = "; ".join(verdict.message for verdict in found)
        return Gate(
            True,
            State(Phase.READY, Reason.GATES_PASSED, text),
            _aspect(True, Reason.GATES_PASSED, text),
            status,
        )
    text = "; ".join(verdict.message for verdict in against)
    why = observed.obj["metadata"].get("annotations", {}).get(GATE_OVERRIDE, "").strip()[:512]
    if why:
        status["override"] = {"reason": why} | ({"digest": digest} if digest else {})
        text = f"opened by hand ({GATE_OVERRIDE}): {why}; {text}"
        return Gate(
            True, State(Phase.READY, Reason.OVERRIDDEN, text), _aspect(True, Reason.OVERRIDDEN, text), status
        )
    final = any(verdict.final for verdict in against)
    reason = Reason.GATE_FAILED if final else Reason.WAITING_FOR_INPUT
    phase = Phase.STALLED if final else Phase.WAITING
    return Gate(False, State(phase, reason, text), _aspect(False, reason, text), status)


def _aspect(passed: bool, reason: Reason, text: str) -> Aspect:
    return Aspect("GatePassed", passed, reason, text)


def health(observed: Observed, found: Object) -> tuple[Health, tuple[str, ...]]:
    """How a Deployment is, and the pods whose logs are wanted before that can be told."""
    if deployment.is_ready(found):
        return Health(_ready(found)), ()
    revision = deployment.revision_of(found)
    pods = [
        pod
        for pod in observed.of("Pod")
        if pod["metadata"]["labels"].get(LABEL_REVISION) == revision
        and "deletionTimestamp" not in pod["metadata"]
    ]
    broken = diagnosis.newest(pod for pod in pods if diagnosis.ended_badly(pod))
    if broken is not None:
        name = broken["metadata"]["name"]
        if name not in observed.logs:
            return Health(_waits(found)), (name,)
        told = diagnosis.failure(broken, observed.logs[name])
        message = told["message"] + (f"\n{told['hint']}" if told.get("hint") else "")
        # Only what cannot pass by itself is a stall: Kubernetes starts the container again and again.
        final = told["reason"] in _FINAL
        phase = Phase.STALLED if final else Phase.PROGRESSING
        return Health(State(phase, Reason(told["reason"]), message), told), ()
    for pod in pods:
        if (stuck := diagnosis.obstacle(pod)) is not None:
            return Health(diagnosis.hint_state(Phase.PROGRESSING, *stuck)), ()
    return Health(_complaint(found) or _waits(found)), ()


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


def _ready(found: Object) -> State:
    replicas = found["spec"].get("replicas", 1)
    if replicas == 0:
        return State(Phase.READY, Reason.SCALED_TO_ZERO, "spec.replicas is 0: nothing serves")
    return State(Phase.READY, Reason.AVAILABLE, f"revision {deployment.revision_of(found)} serves")


def _complaint(found: Object) -> State | None:
    """What the Deployment's own controllers say of pods that they could not make, or that took too long."""
    for condition in found.get("status", {}).get("conditions", []):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            reason = diagnosis.refusal(condition["message"])
            reason = Reason.POD_REFUSED if reason is Reason.CHILD_REFUSED else reason
            return diagnosis.hint_state(Phase.PROGRESSING, reason, condition["message"])
        if condition["type"] == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            return State(Phase.STALLED, Reason.NOT_AVAILABLE, condition["message"])
    return None


def _waits(found: Object) -> State:
    ready = found.get("status", {}).get("availableReplicas", 0)
    text = f"{ready} of {found['spec'].get('replicas', 1)} pods are ready"
    return State(Phase.PROGRESSING, Reason.ROLLING_OUT, text)


def available(found: Current | None) -> Aspect:
    """The condition Available: whether something answers now, whichever revision."""
    if found is None:
        return Aspect("Available", False, Reason.NOT_AVAILABLE, "nothing is served yet")
    replicas = found.deployment["spec"].get("replicas", 1)
    if replicas == 0:
        return Aspect("Available", False, Reason.SCALED_TO_ZERO, "spec.replicas is 0: nothing serves")
    ready = found.deployment.get("status", {}).get("availableReplicas", 0)
    if ready > 0:
        return Aspect("Available", True, Reason.AVAILABLE, f"revision {found.revision} serves")
    return Aspect("Available", False, Reason.NOT_AVAILABLE, f"revision {found.revision} has no ready pod")


def scaled(found: Object, replicas: int) -> tuple[Patch, ...]:
    """The number of pods is the one thing that may change in a revision."""
    if found["spec"].get("replicas", 1) == replicas:
        return ()
    return (Patch("Deployment", found["metadata"]["name"], {"spec": {"replicas": replicas}}),)


def status(found: Current, owner: Owner) -> Object:
    """What is said of the served revision."""
    run = Run.from_json(found.deployment["metadata"]["annotations"][RUN_ANNOTATION])
    model = run.input("model")
    told = found.deployment.get("status", {})
    made: Object = {
        "url": service.url(owner),
        "servingRevision": found.revision,
        "inputs": [model.status()],
        "replicas": told.get("replicas", 0),
        "readyReplicas": told.get("readyReplicas", 0),
    }
    artifact = model.artifact()
    return made | {"artifact": artifact} if artifact else made
