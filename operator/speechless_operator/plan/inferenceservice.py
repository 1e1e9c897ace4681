"""InferenceService: revisions behind a gate. What serves goes on serving until what comes next is ready and allowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from pydantic import ValidationError

from speechless.contract import Format
from speechless.contract.model import ContractModel
from speechless_operator.api.inferenceservice import InferenceServiceSpec
from speechless_operator.api.reasons import Reason
from speechless_operator.desired import configmap, deployment, service, stage
from speechless_operator.desired.inputs import Run
from speechless_operator.desired.objects import (
    LABEL_KIND,
    LABEL_NAME,
    LABEL_REVISION,
    Object,
    Owner,
    short_hash,
)
from speechless_operator.desired.settings import Image
from speechless_operator.plan import resolve, serving
from speechless_operator.plan.conditions import Aspect, Phase, State, conditions, transitions
from speechless_operator.plan.drift import covers
from speechless_operator.plan.observed import Delete, Observed, Patch, Plan
from speechless_operator.plan.watching import refused


def plan_service(observed: Observed, now: datetime) -> Plan:
    """What is to be done for an InferenceService."""
    current = serving.current(observed)
    try:
        spec = InferenceServiceSpec.model_validate(observed.obj["spec"])
    except ValidationError as error:
        # What serves, serves on: a spec that this version does not understand takes nothing down.
        return _Frame(None, observed, now, current).keep(resolve.invalid_model(error).state)
    return _Frame(spec, observed, now, current).plan()


@dataclass(frozen=True)
class _Wanted:
    """The revision that the spec asks for."""

    revision: str
    run: Run
    children: tuple[Object, Object]
    """ConfigMap and Deployment."""


@dataclass(frozen=True)
class _Frame:
    spec: InferenceServiceSpec | None
    observed: Observed
    now: datetime
    current: serving.Current | None

    @property
    def owner(self) -> Owner:
        return self.observed.owner

    def plan(self) -> Plan:
        assert self.spec is not None
        try:
            wanted = self._wanted(self.spec)
        except resolve.Blocked as blocked:
            aspect = Aspect("ModelResolved", False, blocked.state.reason, blocked.state.message)
            return self.keep(blocked.state, aspect)
        resolved = Aspect("ModelResolved", True, Reason.RESOLVED, _model_text(wanted.run))
        gate = serving.gate(self.observed, self.spec, wanted.run.input("model").digest)
        if self.current is not None and self.current.revision == wanted.revision:
            return self._serve(wanted, gate, resolved)
        if not gate.open:
            plan = self.keep(gate.state, resolved, gate=gate, revision=wanted.revision)
            return replace(plan, delete=self._others())
        return self._roll_out(wanted, gate, resolved)

    # -- the four situations ---------------------------------------------------------------------------------------

    def keep(
        self, state: State, *aspects: Aspect, gate: serving.Gate | None = None, revision: str | None = None
    ) -> Plan:
        """Nothing new may be served: the served revision stays as it is, but for the number of its pods."""
        patch: tuple[Patch, ...] = ()
        if self.current is not None and self.spec is not None:
            patch = serving.scaled(self.current.deployment, self.spec.replicas)
        status = self._status(state, aspects, gate, revision)
        return self._with(status, Plan(patch=patch))

    def _serve(self, wanted: _Wanted, gate: serving.Gate, resolved: Aspect) -> Plan:
        """The wanted revision is the served one. A gate that closes later stops the next revision, not this one."""
        assert self.current is not None
        found, logs = serving.health(self.observed, self.current.deployment)
        if logs:
            return Plan(logs=logs)
        state = found.state
        if not gate.open and state.phase is Phase.READY:
            state = replace(
                gate.state,
                message=f"{gate.state.message}; revision {wanted.revision}, let pass before, serves on",
            )
        status = self._status(state, (resolved,), gate, wanted.revision)
        if found.failure:
            status["failure"] = found.failure
        apply = self._changed((*wanted.children, service.service(self.owner, wanted.revision)))
        return self._with(status, Plan(apply=apply, delete=self._others(wanted.revision)))

    def _roll_out(self, wanted: _Wanted, gate: serving.Gate, resolved: Aspect) -> Plan:
        """Start the wanted revision; when every pod of it is ready, the Service selects it."""
        name = wanted.children[1]["metadata"]["name"]
        started = self.observed.named("Deployment", name)
        children: tuple[Object, ...] = wanted.children
        failure = None
        state = refused(self.observed.refused) or State(
            Phase.PROGRESSING, Reason.ROLLING_OUT, f"revision {wanted.revision} is made"
        )
        if started is not None:
            found, logs = serving.health(self.observed, started)
            if logs:
                return Plan(logs=logs)
            failure = found.failure
            if deployment.is_ready(started):
                children = (*children, service.service(self.owner, wanted.revision))
                state = State(
                    Phase.PROGRESSING,
                    Reason.ROLLING_OUT,
                    f"revision {wanted.revision} is ready: the Service moves",
                )
            else:
                state = replace(found.state, message=f"revision {wanted.revision}: {found.state.message}")
            state = refused(self.observed.refused) or state
        status = self._status(state, (resolved,), gate, wanted.revision)
        if failure:
            status["failure"] = failure
        keep = {wanted.revision} | ({self.current.revision} if self.current else set())
        patch = (
            serving.scaled(self.current.deployment, self.spec.replicas) if self.current and self.spec else ()
        )
        return self._with(
            status, Plan(apply=self._changed(children), patch=patch, delete=self._others(*keep))
        )

    # -- what is wanted --------------------------------------------------------------------------------------------

    def _wanted(self, spec: InferenceServiceSpec) -> _Wanted:
        settings = self.observed.settings
        model = resolve.model(spec.model, self.owner, self.observed.references, settings)
        resolve.need_format(model, (Format.GGUF,), "engine LlamaCpp serves GGUF")
        image = spec.pod.image or settings.images.get(Image.SERVE_LLAMACPP)
        if not image:
            raise resolve.invalid(
                "spec.pod.image: the operator has no image for this engine "
                f"(--image-{Image.SERVE_LLAMACPP}): set one here"
            )
        run = Run((model,))
        decisive = spec.model_dump(mode="json", exclude_defaults=True, exclude={"replicas", "gate", "model"})
        revision = short_hash(self.owner.uid, model.uri, model.digest, image, decisive)
        name = self.owner.child_name(revision)
        children = (
            configmap.config_map(
                self.owner, name, self._stage(spec, run, revision), labels={LABEL_REVISION: revision}
            ),
            deployment.deployment(self.owner, name, revision, image=image, spec=spec, run=run),
        )
        return _Wanted(revision, run, children)

    def _stage(self, spec: InferenceServiceSpec, run: Run, revision: str) -> ContractModel:
        owner = self.owner
        try:
            return stage.serve(spec, run, stage.identity(owner, revision), deployment.PORT)
        except ValidationError as error:
            raise resolve.invalid_model(error) from error

    # -- what is done ----------------------------------------------------------------------------------------------

    def _changed(self, children: Sequence[Object]) -> tuple[Object, ...]:
        """The children that are missing or were changed by another hand."""
        return tuple(
            child
            for child in children
            if _differs(self.observed.named(child["kind"], child["metadata"]["name"]), child)
        )

    def _others(self, *keep: str) -> tuple[Delete, ...]:
        """Revisions that nobody needs."""
        if self.current is not None:
            keep = (*keep, self.current.revision)
        return tuple(
            Delete(kind, child["metadata"]["name"], child["metadata"]["uid"])
            for kind in ("Deployment", "ConfigMap")
            for child in self.observed.of(kind)
            if deployment.revision_of(child) not in keep and "deletionTimestamp" not in child["metadata"]
        )

    def _status(
        self, state: State, aspects: Sequence[Aspect], gate: serving.Gate | None, revision: str | None
    ) -> Object:
        owner, old = self.owner, self.observed.obj.get("status", {})
        all_aspects = [
            *aspects,
            *([gate.aspect] if gate and gate.aspect else []),
            serving.available(self.current),
        ]
        status: Object = {
            "observedGeneration": owner.generation,
            "phase": state.phase.value,
            "conditions": conditions(old, owner.generation, self.now, state, all_aspects),
            "selector": f"{LABEL_KIND}={owner.kind},{LABEL_NAME}={owner.name}",
            "replicas": 0,
            "readyReplicas": 0,
        }
        if self.spec is not None:
            status["model"] = resolve.describe(self.spec.model)
        if revision:
            status["revision"] = revision
        if gate is not None and gate.status:
            status["gate"] = gate.status
        if self.current is not None:
            status |= serving.status(self.current, owner)
        return status

    def _with(self, status: Object, plan: Plan) -> Plan:
        events = transitions(self.observed.obj.get("status", {}), status)
        return replace(plan, status=status, events=events)


def _model_text(run: Run) -> str:
    model = run.input("model")
    return f"{model.uri} {model.digest or '(digest unknown)'}"


def _differs(found: Object | None, wanted: Object) -> bool:
    """Whether to apply. A ConfigMap that exists stays: it is immutable, and a newer operator may write it otherwise."""
    return found is None or (wanted["kind"] != "ConfigMap" and not covers(found, wanted))
