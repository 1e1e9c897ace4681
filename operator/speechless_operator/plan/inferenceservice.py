"""InferenceService: revisions behind a gate. What serves goes on serving until what comes next is ready and allowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from pydantic import ValidationError

from speechless.contract.engines import ENGINES
from speechless_operator.api.inferenceservice import InferenceServiceSpec
from speechless_operator.api.reasons import Reason
from speechless_operator.desired import deployment, service
from speechless_operator.desired.children import Prune, pruned
from speechless_operator.desired.inputs import Input
from speechless_operator.desired.objects import LABEL_KIND, LABEL_NAME, LABEL_UID, Object, Owner
from speechless_operator.plan import resolve, revision, serving
from speechless_operator.plan.conditions import SERVICE, Aspect, conditions, phase, transitions
from speechless_operator.plan.observed import Delete, Look, Observed, Patch, Plan
from speechless_operator.plan.revision import Revision
from speechless_operator.plan.trouble import told


def plan_service(observed: Observed, now: datetime) -> Plan:
    """What is to be done for an InferenceService."""
    current = serving.current(observed)
    try:
        spec = InferenceServiceSpec.model_validate(observed.obj.get("spec"))
    except ValidationError as error:
        # What serves, serves on: a spec that this version does not understand takes nothing down.
        aspect = resolve.invalid_model(error).aspect("ModelResolved")
        return _Frame(None, observed, now, current).keep([aspect])
    return _Frame(spec, observed, now, current).plan()


@dataclass(frozen=True)
class _Frame:
    spec: InferenceServiceSpec | None
    observed: Observed
    now: datetime
    current: serving.Current | None

    @property
    def owner(self) -> Owner:
        return self.observed.owner

    @property
    def replicas(self) -> int:
        """Pods that are wanted; with a spec that cannot be read, as many as there are."""
        if self.spec is not None:
            return self.spec.replicas
        found = self.current.deployment if self.current else None
        return deployment.replicas_of(found) if found else 1

    @property
    def port(self) -> int:
        engine = ENGINES.get(self.spec.engine) if self.spec else None
        return engine.port if engine else next(iter(ENGINES.values())).port

    def plan(self) -> Plan:
        assert self.spec is not None
        try:
            model, resolved = self._model(self.spec)
            uris = {"spec.model.uri": model.uri} if model.kind is None else {}
            resolve.check_ceilings(self.spec.pod, uris, self.observed.settings, self.spec.engine_args)
            wanted = revision.wanted(self.observed, self.spec, model)
        except resolve.Blocked as blocked:
            return self.keep([blocked.aspect("ModelResolved")])
        gate = serving.gate(self.observed, self.spec, model.digest, self.now)
        aspects = [resolved, *([gate.aspect] if gate.aspect else [])]
        if self.current is not None and self.current.revision == wanted.name:
            return self._serve(wanted, gate, aspects)
        if self.current is None and self.observed.status.get("servingRevision") == wanted.name:
            # Somebody deleted all of it at once: it is what served, and is made again.
            everything = replace(self, current=serving.Current(wanted.name, None))
            return everything._serve(wanted, gate, aspects)
        if not gate.open:
            return self.keep(aspects, gate=gate, wanted=wanted.name, prune=True, model=model)
        return self._roll_out(wanted, gate, aspects)

    def _model(self, spec: InferenceServiceSpec) -> tuple[Input, Aspect]:
        """The model, and how it was found: what was resolved before stands in for a resource that is gone."""
        try:
            model = resolve.model(spec.model, self.owner, self.observed.references, self.observed.settings)
        except resolve.Blocked:
            named = resolve.referred(spec.model)
            gone = named is not None and named not in self.observed.references
            known = serving.pinned(self.observed, named) if named and gone else None
            if named is None or known is None:
                raise
            message = f"{'/'.join(named)} is gone; its artifact serves on: {known.uri} {known.digest}"
            return known, Aspect("ModelResolved", True, Reason.PINNED, message)
        return model, Aspect(
            "ModelResolved", True, Reason.RESOLVED, f"{model.uri} {model.digest or '(digest unknown)'}"
        )

    # -- the three situations --------------------------------------------------------------------------------------

    def keep(
        self,
        aspects: list[Aspect],
        *,
        gate: serving.Gate | None = None,
        wanted: str | None = None,
        prune: bool = False,
        model: Input | None = None,
    ) -> Plan:
        """Nothing new may be served: what serves stays as it is, and is put back where somebody took it away.

        Before anything serves, the status remembers the `model` that is to: its resource may go while the gate is
        closed.
        """
        if self.current is None:
            plan = Plan(delete=self._others() if prune else ())
            status = self._status(aspects, gate, wanted)
            found = [model.status()] if model else self.observed.status.get("inputs")
            return self._with(status | ({"inputs": found} if found else {}), plan, gate)
        children = self._kept(None)
        if isinstance(children, Look):
            return Plan(look=children)
        health = self._health(self.current)
        if health.logs:
            return Plan(logs=health.logs)
        status = self._status([*aspects, health.aspect], gate, wanted)
        if health.failure:
            status["failure"] = health.failure
        plan = Plan(apply=children, patch=self._scaled(), delete=self._others() if prune else ())
        return self._with(status, plan, gate)

    def _serve(self, wanted: Revision, gate: serving.Gate, aspects: list[Aspect]) -> Plan:
        """The wanted revision is the served one. A gate that closes later stops the next revision, not this one."""
        assert self.current is not None
        children = self._kept(wanted)
        if isinstance(children, Look):
            return Plan(look=children)
        health = self._health(self.current)
        if health.logs:
            return Plan(logs=health.logs)
        status = self._status([*aspects, health.aspect], gate, wanted.name)
        if health.failure:
            status["failure"] = health.failure
        # The ones before go when the Service that clients ask is seen to have moved.
        found = self.observed.named("Service", self.owner.name)
        moved = found is not None and service.selected_revision(found) == wanted.name
        plan = Plan(apply=children, patch=self._scaled(), delete=self._others() if moved else ())
        return self._with(status, plan, gate)

    def _roll_out(self, wanted: Revision, gate: serving.Gate, aspects: list[Aspect]) -> Plan:
        """Start the wanted revision; when every pod of it is ready, the Service selects it."""
        kept = self._kept(None) if self.current else ()
        if isinstance(kept, Look):
            return Plan(look=kept)
        name = self.owner.child_name(wanted.name)
        started = self.observed.named("Deployment", name)
        made = revision.kept(self.observed, wanted.name, self.port) if started else None
        children: tuple[Object, ...] = (made or wanted).children(self.owner, self.replicas)
        current = self.current
        failure = None
        progress = _rolling(f"revision {wanted.name} is made")
        if started is not None:
            health = serving.health(self.observed, started, self.replicas, self.now)
            if health.logs:
                return Plan(logs=health.logs)
            failure = health.failure
            progress = replace(health.aspect, message=f"revision {wanted.name}: {health.aspect.message}")
            if deployment.is_ready(started, self.replicas):
                if self.replicas == 0 and current is not None:
                    # Without a pod nothing shows that it can serve: what did serve stays selected.
                    progress = _rolling(f"revision {wanted.name} is tried when spec.replicas is above 0")
                else:
                    # The status says so first; then the Service moves. Who looks in between goes on from the status.
                    current = serving.Current(wanted.name, started)
                    children = (*children, service.stable(self.owner, wanted.name, self.port))
                    progress = _rolling(f"revision {wanted.name} is ready: the Service moves")
        status = self._status([*aspects, progress], gate, wanted.name, current)
        if failure:
            status["failure"] = failure
        keep = {wanted.name} | ({self.current.revision} if self.current else set())
        apply = revision.changed(self.observed, children)
        moved = current is not self.current
        kept = tuple(child for child in kept if not (moved and child["metadata"]["name"] == self.owner.name))
        plan = Plan(apply=(*kept, *apply), patch=self._scaled(), delete=self._others(*keep))
        return self._with(status, plan, gate)

    # -- what serves -----------------------------------------------------------------------------------------------

    def _health(self, current: serving.Current) -> serving.Health:
        if current.deployment is None:
            message = f"the Deployment of revision {current.revision} is gone: it is made again"
            return serving.Health(_rolling(message))
        return serving.health(self.observed, current.deployment, self.replicas, self.now)

    def _kept(self, wanted: Revision | None) -> tuple[Object, ...] | Look:
        """The children of what serves that are missing or changed, as they were made. `wanted`: the same revision.

        A Deployment that the first version made has no record of how it was made. It is left as it is.
        """
        assert self.current is not None
        name = self.owner.child_name(self.current.revision)
        found = self.current.deployment
        made = revision.kept(self.observed, self.current.revision, self.port)
        if made is None and found is None:
            if self.observed.live is None:
                return Look(config_maps=(name,))
            made = wanted
        stable = service.stable(self.owner, self.current.revision, made.port if made else self.port)
        if made is None:
            again = (
                () if found is not None or wanted is None else wanted.children(self.owner, self.replicas)[:1]
            )
            beside = service.of_revision(self.owner, name, self.current.revision, self.port)
            return revision.changed(self.observed, (*again, beside, stable) if found is not None else again)
        return revision.changed(self.observed, (*made.children(self.owner, self.replicas), stable))

    def _scaled(self) -> tuple[Patch, ...]:
        """The number of pods of a Deployment that the first version made; of others it is applied with the rest."""
        found = self.current.deployment if self.current else None
        if found is None or deployment.replicas_of(found) == self.replicas:
            return ()
        if revision.kept(self.observed, deployment.revision_of(found), self.port) is not None:
            return ()
        return (Patch("Deployment", found["metadata"]["name"], {"spec": {"replicas": self.replicas}}),)

    def _others(self, *keep: str) -> tuple[Delete, ...]:
        """Revisions that nobody needs."""
        revisions = {*keep, *([self.current.revision] if self.current else [])}
        names = {self.owner.child_name(name) for name in revisions} | {self.owner.name}
        return tuple(
            Delete(kind, child["metadata"]["name"], child["metadata"]["uid"])
            for kind in pruned(Prune.UNUSED)
            for child in self.observed.of(kind)
            if child["metadata"]["name"] not in names and "deletionTimestamp" not in child["metadata"]
        )

    # -- what is said ----------------------------------------------------------------------------------------------

    def _status(
        self,
        aspects: Sequence[Aspect],
        gate: serving.Gate | None,
        wanted: str | None,
        current: serving.Current | None = None,
    ) -> Object:
        owner, old = self.owner, self.observed.status
        current = current or self.current
        if refused := told(self.observed.troubles):
            aspects = [*(a for a in aspects if a.type != "Progressing"), refused]
        every = [*aspects, serving.available(self.observed, current, self.replicas)]
        made = conditions(old, owner.generation, self.now, SERVICE, every)
        selected = current.revision if current else wanted
        labels = (
            service.selector(owner, selected)
            if selected
            else {LABEL_KIND: owner.kind, LABEL_NAME: owner.name, LABEL_UID: owner.uid}
        )
        status: Object = {
            "observedGeneration": owner.generation,
            "phase": phase(made).value,
            "conditions": made,
            "selector": ",".join(f"{key}={value}" for key, value in labels.items()),
            "replicas": 0,
            "readyReplicas": 0,
        }
        if self.spec is not None:
            status["model"] = resolve.describe(self.spec.model)
        if wanted or "revision" in old:
            status["revision"] = wanted or old["revision"]
        if gate is not None and gate.status:
            status["gate"] = gate.status
        elif gate is None and self.spec is not None and self.spec.gate is not None and "gate" in old:
            status["gate"] = old["gate"]
        if current is not None:
            status |= serving.status(current, owner, old)
        return status

    def _with(self, status: Object, plan: Plan, gate: serving.Gate | None) -> Plan:
        events = transitions(self.observed.status, status)
        return replace(plan, status=status, events=events, requeue_after=gate.again_after if gate else None)


def _rolling(message: str) -> Aspect:
    return Aspect("Progressing", True, Reason.ROLLING_OUT, message, moving=True)
