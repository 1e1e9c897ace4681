"""The plan of every kind that runs once: resolve, start, watch, tell how it ended. What differs is a `JobKind`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from speechless.contract import RunIdentity, StageName, StageResult
from speechless.contract.model import ContractModel
from speechless_operator.api.common import JobSpec, ModelSource
from speechless_operator.api.reasons import Reason
from speechless_operator.desired import configmap, job, stage
from speechless_operator.desired.inputs import Input, Run
from speechless_operator.desired.objects import Object, Owner, short_hash
from speechless_operator.desired.settings import Image, Settings
from speechless_operator.plan import outcome, resolve, watching
from speechless_operator.plan.conditions import Aspect, Phase, State, conditions, holds, transitions
from speechless_operator.plan.observed import Delete, Observed, Patch, Plan

S = TypeVar("S", bound=JobSpec)


@dataclass(frozen=True)
class JobKind(Generic[S]):
    """What one kind adds to the frame."""

    spec: type[S]
    stage: StageName
    image: Image
    model: Callable[[S], ModelSource]
    data: Callable[[S, Settings], tuple[Input, ...]]
    render: Callable[[S, Run, RunIdentity], ContractModel]
    check: Callable[[S, Input, Settings], None]
    """Raises Blocked when the resolved model or the administrator's ceiling forbids the run."""
    judge: Callable[[S, StageResult], tuple[list[Aspect], Object]]
    """Conditions and status fields of the kind's own, from the result."""


def plan_job(kind: JobKind[S], observed: Observed, now: datetime) -> Plan:
    """What is to be done for a resource that runs once."""
    old = observed.obj.get("status", {})
    if holds(old, "Succeeded") or holds(old, "Failed"):
        return _after_the_end(observed, now)
    try:
        spec = kind.spec.model_validate(observed.obj["spec"])
    except ValidationError as error:
        return _blocked(observed, now, resolve.invalid_model(error).state, None)
    return _Frame(kind, spec, observed, now).plan()


@dataclass(frozen=True)
class _Frame(Generic[S]):
    kind: JobKind[S]
    spec: S
    observed: Observed
    now: datetime

    @property
    def owner(self) -> Owner:
        return self.observed.owner

    @property
    def model_text(self) -> str:
        return resolve.describe(self.kind.model(self.spec))

    def spec_hash(self) -> str:
        """Of what decides the result. A field's default is not in it: a new field changes no hash."""
        decisive = self.spec.model_dump(
            mode="json", exclude_defaults=True, exclude={"suspend", "ttl_seconds_after_finished"}
        )
        return short_hash(decisive)

    def plan(self) -> Plan:
        # By ownership, not by name: whatever was started for this uid is the run.
        found = next(iter(self.observed.of("Job")), None)
        if found is None:
            return self._start()
        run = job.run_of(found)
        return self._watch(found, run)

    def _start(self) -> Plan:
        if self.spec.suspend:
            state = State(Phase.SUSPENDED, Reason.SUSPENDED, "spec.suspend is true: nothing was started")
            return _blocked(self.observed, self.now, state, self.model_text)
        try:
            run = self._resolve()
            told = self._render(run)
            image = self._image()
        except resolve.Blocked as blocked:
            return _blocked(self.observed, self.now, blocked.state, self.model_text)
        name = self.owner.child_name(short_hash(self.owner.uid, self.spec_hash()))
        children = (
            configmap.config_map(self.owner, name, told),
            job.job(self.owner, name, stage=self.kind.stage, image=image, spec=self.spec, run=run),
        )
        state = watching.refused(self.observed.refused) or State(
            Phase.PENDING, Reason.STARTING, "the Job is made"
        )
        status = self._status(state, [], run) | {"job": name}
        return _with(self.observed, status, Plan(apply=children))

    def _watch(self, found: Object, run: Run) -> Plan:
        name = found["metadata"]["name"]
        pods = [pod for pod in self.observed.of("Pod") if watching.belongs(pod, found)]
        ended = outcome.outcome(found, pods, self.observed.logs, self.now)
        if isinstance(ended, outcome.Wanted):
            return Plan(logs=ended.logs, requeue_after=ended.again_after)
        if ended is not None:
            return self._end(ended, found, run)
        status = self._status(watching.state(found, pods, self.observed.of("Event")), [], run)
        status |= {"job": name} | watching.times(found)
        failed = outcome.last_failure(pods, self.observed.logs)
        if isinstance(failed, outcome.Wanted):
            return Plan(logs=failed.logs)
        if failed is not None:
            status["failure"] = failed
        apply = () if self.observed.named("ConfigMap", name) else self._config_map_again(name, run)
        return _with(self.observed, status, Plan(apply=apply, patch=self._mutable(found, pods)))

    def _end(self, ended: outcome.Ended, found: Object, run: Run) -> Plan:
        aspects: list[Aspect] = []
        more: Object = {}
        if ended.result is not None and ended.state.phase is Phase.SUCCEEDED:
            aspects, more = self.kind.judge(self.spec, ended.result)
        status = self._status(ended.state, aspects, run) | more | ended.status
        status["inputs"] = outcome.inputs(run, ended.result)
        status |= {"job": found["metadata"]["name"]} | watching.times(found)
        status.setdefault("completionTime", outcome.completion_time(found, self.now))
        status["provenance"] = status.get("provenance", {}) | {"specHash": self.spec_hash()}
        return _with(self.observed, status, Plan(requeue_after=self.spec.ttl_seconds_after_finished))

    def _resolve(self) -> Run:
        settings = self.observed.settings
        model = resolve.model(self.kind.model(self.spec), self.owner, self.observed.references, settings)
        self.kind.check(self.spec, model, settings)
        uri = self.spec.output.uri if self.spec.output else None
        out = resolve.output(uri, self.owner, self.spec_hash(), settings)
        return Run((model, *self.kind.data(self.spec, settings)), out)

    def _render(self, run: Run) -> ContractModel:
        try:
            return self.kind.render(self.spec, run, stage.identity(self.owner, self.spec_hash()))
        except ValidationError as error:
            raise resolve.invalid_model(error) from error

    def _image(self) -> str:
        image = self.spec.pod.image or self.observed.settings.images.get(self.kind.image)
        if not image:
            raise resolve.invalid(
                f"spec.pod.image: the operator has no image for this kind (--image-{self.kind.image}): set one here"
            )
        return image

    def _config_map_again(self, name: str, run: Run) -> tuple[Object, ...]:
        """Somebody deleted it: the pod cannot start without."""
        try:
            return (configmap.config_map(self.owner, name, self._render(run)),)
        except resolve.Blocked:
            # A Job runs of a spec that this version would not take; its pod has what it was given.
            return ()

    def _mutable(self, found: Object, pods: list[Object]) -> tuple[Patch, ...]:
        """The fields of a Job that may change. The rest was fixed when it was made."""
        # More memory is not there at the next attempt: end the Job. A failure policy cannot say so, as exit code 137
        # is that of every SIGKILL.
        backoff = 0 if watching.out_of_memory(pods) else self.spec.backoff_limit
        wanted: dict[str, Any] = {"suspend": self.spec.suspend, "backoffLimit": backoff}
        now = {key: found["spec"].get(key) for key in wanted}
        if now.get("suspend") is None:
            now["suspend"] = False
        changed = {key: value for key, value in wanted.items() if now[key] != value}
        return (Patch("Job", found["metadata"]["name"], {"spec": changed}),) if changed else ()

    def _status(self, state: State, aspects: list[Aspect], run: Run) -> Object:
        status = _base(self.observed, self.now, state, self.model_text, aspects)
        return status | {"inputs": [found.status() for found in run.inputs]}


def _base(
    observed: Observed, now: datetime, state: State, model: str | None, aspects: list[Aspect] | None = None
) -> Object:
    generation = observed.owner.generation
    old = observed.obj.get("status", {})
    status: Object = {
        "observedGeneration": generation,
        "phase": state.phase.value,
        "conditions": conditions(old, generation, now, state, aspects or []),
    }
    return status | {"model": model} if model else status


def _blocked(observed: Observed, now: datetime, state: State, model: str | None) -> Plan:
    return _with(observed, _base(observed, now, state, model), Plan())


def _with(observed: Observed, status: Object, plan: Plan) -> Plan:
    """The plan with the status, and the Events that go with the change."""
    old = observed.obj.get("status", {})
    return Plan(
        apply=plan.apply,
        patch=plan.patch,
        delete=plan.delete,
        status=status,
        progress=outcome.last_progress(old, status),
        events=transitions(old, status),
        requeue_after=plan.requeue_after,
    )


def _after_the_end(observed: Observed, now: datetime) -> Plan:
    """The outcome stands. What is left: to note a new generation, and to go when the time has come."""
    old: Mapping[str, Any] = observed.obj["status"]
    generation = observed.owner.generation
    status = {key: value for key, value in old.items() if key != "progress"} | {
        "observedGeneration": generation,
        "conditions": [c | {"observedGeneration": generation} for c in old["conditions"]],
    }
    progress = outcome.last_progress(dict(old), status)
    ttl = observed.obj["spec"].get("ttlSecondsAfterFinished")
    if ttl is None or "completionTime" not in old:
        return Plan(status=status, progress=progress)
    left = (datetime.fromisoformat(old["completionTime"]) + timedelta(seconds=ttl) - now).total_seconds()
    if left > 0:
        return Plan(status=status, progress=progress, requeue_after=left)
    owner = observed.owner
    return Plan(delete=(Delete(owner.kind, owner.name, owner.uid),))
