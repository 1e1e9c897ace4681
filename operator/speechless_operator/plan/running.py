"""The plan of every kind that runs to an end: resolve, start, watch, tell how it ended. What differs is a `RunKind`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Generic

from pydantic import ValidationError

from speechless.contract.spec import StageSpec
from speechless.contract.stages import STAGE_IMAGES
from speechless_operator.api.reasons import Reason
from speechless_operator.desired import configmap, job, stage
from speechless_operator.desired.children import Prune, pruned
from speechless_operator.desired.inputs import Run
from speechless_operator.desired.objects import Object, Owner
from speechless_operator.plan import accept, outcome, queueing, resolve, watching
from speechless_operator.plan import run as identity
from speechless_operator.plan.conditions import RUN, Aspect, conditions, ended, now_text, phase, transitions
from speechless_operator.plan.diagnosis import container_status
from speechless_operator.plan.observed import Delete, Look, Observed, Patch, Plan
from speechless_operator.plan.runkind import Part, RunKind, S
from speechless_operator.plan.starting import in_the_way, replaceable
from speechless_operator.plan.trouble import told

MAX_LOST = 2
"""Results that may be lost with their pods before the run is given up."""


def plan_run(kind: RunKind[S], observed: Observed, now: datetime) -> Plan:
    """What is to be done for a resource that runs to an end."""
    if ended(observed.status):
        return _after_the_end(observed, now)
    try:
        spec = kind.spec.model_validate(observed.obj.get("spec"))
    except ValidationError as error:
        # What runs, runs on: a spec that this version does not understand ends nothing.
        aspect = resolve.invalid_model(error).aspect("InputsResolved")
        return _with(observed, _base(observed, now, [aspect], None), Plan())
    return _Frame(kind, spec, observed, now).plan()


@dataclass(frozen=True)
class _Frame(Generic[S]):
    kind: RunKind[S]
    spec: S
    observed: Observed
    now: datetime

    @property
    def owner(self) -> Owner:
        return self.observed.owner

    @property
    def parts(self) -> tuple[Part, ...]:
        return self.kind.parts(self.spec)

    def plan(self) -> Plan:
        run = self._known()
        if run is not None:
            return self._go_on(run, new=False)
        try:
            run = self._identify()
        except resolve.Blocked as blocked:
            aspects = [blocked.aspect("InputsResolved")]
            if self.spec.suspend and not blocked.stalled:
                aspects.append(_suspended())
            return self._say(None, aspects, Plan())
        return self._go_on(run, new=self.observed.fresh)

    # -- which run it is -------------------------------------------------------------------------------------------

    def _known(self) -> Run | None:
        """The run that was decided before: by the status, or by a Job that the first version made."""
        status = self.observed.status
        run = Run.read(status.get("run"))
        if run is not None:
            return run
        found = (identity.adopted(self.owner, job, status) for job in self.observed.of("Job"))
        return next((run for run in found if run is not None), None)

    def _identify(self) -> Run:
        """Resolve what the spec names, and name the run by it."""
        settings, pod = self.observed.settings, self.spec.pod
        model = resolve.model(self.kind.model(self.spec), self.owner, self.observed.references, settings)
        self.kind.check(self.spec, model, settings)
        inputs = (model, *self.kind.data(self.spec, settings))
        store, secret = resolve.store(self.spec.output, settings)
        draft = Run(inputs, identity.output(store, self.owner, "run"), output_secret=secret)
        name = identity.name_of(self._render(draft), pod)
        run = replace(draft, name=name, output=identity.output(store, self.owner, name))
        self._may(run)
        return run

    def _may(self, run: Run) -> None:
        """Hold the spec against the administrator's ceilings, each time that something is to start."""
        uris = {_path(entry.name): entry.uri for entry in run.inputs if entry.kind is None}
        if self.spec.output is not None:
            uris["spec.output.uri"] = self.spec.output.uri
        resolve.check_ceilings(self.spec.pod, uris, self.observed.settings)

    # -- start -----------------------------------------------------------------------------------------------------

    def _go_on(self, run: Run, *, new: bool) -> Plan:
        names = {part: identity.job_name(self.owner, run, part.name) for part in self.parts}
        found = {part: job for part in names if (job := self.observed.named("Job", names[part])) is not None}
        leaving = [job for job in found.values() if "deletionTimestamp" in job["metadata"]]
        if leaving:
            message = (
                f"Job {leaving[0]['metadata']['name']} is being deleted: when it is gone, a new one goes on"
            )
            aspect = Aspect("Progressing", True, Reason.STARTING, message)
            return self._say(run, [aspect], Plan())
        if len(found) < len(names):
            return self._start(run, [part for part in names if part not in found], new=new)
        return self._watch(run, found)

    def _start(self, run: Run, missing: Sequence[Part], *, new: bool) -> Plan:
        """Make what is missing, once nothing of an earlier attempt can write any more."""
        if self.spec.suspend:
            return self._say(run, [_suspended()], Plan(delete=self._stale(run)))
        wanted = tuple(identity.job_name(self.owner, run, part.name) for part in missing)
        refused = told(self.observed.troubles)
        if not new:
            if self.observed.live is None:
                return Plan(look=_look(wanted))
            if (aspect := in_the_way(self.owner, run, self.observed.live)) is not None:
                return self._say(run, [refused or aspect], Plan(delete=self._stale(run), requeue_after=5))
        try:
            self._may(run)
            children = tuple(child for part in missing for child in self._children(run, part))
        except resolve.Blocked as blocked:
            return self._say(run, [blocked.aspect("InputsResolved")], Plan(delete=self._stale(run)))
        old = replaceable(self.observed, children)
        plan = Plan(apply=children, delete=(*self._stale(run), *old))
        return self._say(run, [refused or watching.starting(run)], plan, more={"job": wanted[0]})

    def _children(self, run: Run, part: Part) -> tuple[Object, Object]:
        name = self.owner.child_name(run.name) + (f"-{part.name}" if part.name else "")
        made = job.job(
            self.owner,
            identity.job_name(self.owner, run, part.name),
            stage=self.kind.stage,
            image=self._image(),
            spec=self.spec,
            run=run,
            config_map=name,
            defaults=self.observed.settings.pods,
            ranks=part.ranks,
        )
        return configmap.config_map(self.owner, name, self.kind.part(self._render(run), part)), made

    def _render(self, run: Run) -> StageSpec:
        try:
            return self.kind.render(self.spec, run, stage.identity(self.owner, run.name))
        except ValidationError as error:
            raise resolve.invalid_model(error) from error

    def _image(self) -> str:
        name = STAGE_IMAGES[self.kind.stage]
        image = self.spec.pod.image or self.observed.settings.images.get(name)
        if not image:
            raise resolve.invalid(
                f"spec.pod.image: the operator has no image for this kind (--image-{name}): set one here"
            )
        return image

    def _stale(self, run: Run) -> tuple[Delete, ...]:
        """Jobs of earlier attempts."""
        names = {identity.job_name(self.owner, run, part.name) for part in self.parts}
        return tuple(
            _delete(found)
            for found in self.observed.of("Job")
            if found["metadata"]["name"] not in names and "deletionTimestamp" not in found["metadata"]
        )

    # -- watch -----------------------------------------------------------------------------------------------------

    def _watch(self, run: Run, found: Mapping[Part, Object]) -> Plan:
        pods = {part: outcome.pods_of(job, self.observed.of("Pod")) for part, job in found.items()}
        first = self.kind.first(self.spec)
        seen = {
            part: outcome.verdict(
                job,
                pods[part],
                run,
                first=first,
                logs=self.observed.logs,
                live=self.observed.live,
                now=self.now,
            )
            for part, job in found.items()
        }
        for verdict in seen.values():
            if isinstance(verdict, outcome.Needs):
                return Plan(logs=verdict.logs, look=verdict.look)
        jobs = list(found.values())
        for verdict in seen.values():
            if isinstance(verdict, outcome.Failed):
                if verdict.retriable and run.attempt <= self.spec.backoff_limit:
                    return self._again(
                        run, jobs, f"{verdict.told['reason']}: {verdict.told['message']}", lost=False
                    )
                return self._failed(run, jobs, verdict.told)
        for verdict in seen.values():
            if isinstance(verdict, outcome.Lost):
                return self._lost(run, jobs, verdict)
        done = [verdict for verdict in seen.values() if isinstance(verdict, outcome.Done)]
        if len(done) == len(seen):
            return self._succeeded(run, jobs, done)
        going = {part: verdict for part, verdict in seen.items() if not isinstance(verdict, outcome.Done)}
        return self._going(run, {part: (found[part], pods[part], going[part]) for part in going})

    def _going(self, run: Run, going: Mapping[Part, tuple[Job, list[Object], outcome.Verdict]]) -> Plan:
        aspects: list[Aspect] = []
        patches: list[Patch] = []
        removed: list[Delete] = []
        failure: Object | None = None
        wait: float | None = None
        mine = False
        for found, pods, verdict in going.values():
            running = any(watching.is_running(pod) for pod in pods)
            workloads = [w for w in self.observed.of("Workload") if _queues(w, found)]
            hold = queueing.hold(self.spec, run, found, workloads, running=running)
            mine |= hold.mine or (run.suspended and found["spec"].get("suspend") is True)
            patches += self._mutable(found, pods, hold)
            removed += [_delete(found)] if hold.remove else []
            if hold.aspect is not None:
                aspects.append(hold.aspect)
            elif isinstance(verdict, outcome.Held):
                aspects.append(watching.held(verdict))
                wait = verdict.seconds + 0.5
            else:
                aspects.append(watching.progressing(run, found, pods, self.observed.of("Event")))
            failed = outcome.last_failure(pods, self.observed.logs)
            if isinstance(failed, outcome.Needs):
                return Plan(logs=failed.logs)
            failure = failure or failed
        try:
            apply = self._config_maps_again(run, going)
        except resolve.Blocked:
            # A Job runs of a spec that this version would not take; its pod has what it was given.
            apply = ()
        aspect = told(self.observed.troubles) or min(aspects, key=lambda aspect: aspect.status is True)
        status: Object = {"job": next(iter(going.values()))[0]["metadata"]["name"]}
        everyone = [pod for _, pods, _ in going.values() for pod in pods]
        status |= outcome.times([found for found, _, _ in going.values()], self.observed.status, everyone)
        status.pop("completionTime", None)
        if aspect.reason is Reason.STARTING and "startTime" not in self.observed.status:
            # No news by itself: it is told with the next thing, as a rule that the pod runs.
            status.pop("startTime", None)
        if failure is not None:
            status["failure"] = failure
        plan = Plan(
            apply=apply, patch=tuple(patches), delete=(*removed, *self._stale(run)), requeue_after=wait
        )
        return self._say(replace(run, suspended=mine), [aspect], plan, more=status)

    def _config_maps_again(
        self, run: Run, going: Mapping[Part, tuple[Job, list[Object], outcome.Verdict]]
    ) -> tuple[Object, ...]:
        """Somebody deleted one: the next pod cannot start without."""
        made = (self._children(run, part)[0] for part in going if not self._config_map(run, part))
        return tuple(made)

    def _config_map(self, run: Run, part: Part) -> Object | None:
        name = self.owner.child_name(run.name) + (f"-{part.name}" if part.name else "")
        return self.observed.named("ConfigMap", name)

    def _mutable(self, found: Object, pods: Sequence[Object], hold: queueing.Hold) -> list[Patch]:
        """The fields of a Job that may change. The rest was fixed when it was made."""
        wanted: dict[str, Any] = {} if hold.suspend is None else {"suspend": hold.suspend}
        # More memory is not there at the next attempt: end the Job. A failure policy cannot say so, as exit code 137
        # is that of every SIGKILL.
        if watching.out_of_memory(pods) and found["spec"].get("backoffLimit") != 0:
            wanted["backoffLimit"] = 0
        return [Patch("Job", found["metadata"]["name"], {"spec": wanted})] if wanted else []

    # -- the end ---------------------------------------------------------------------------------------------------

    def _again(self, run: Run, jobs: Sequence[Object], why: str, *, lost: bool) -> Plan:
        """The same run, once more: what it published or checkpointed is found."""
        onward = run.next(lost=lost)
        message = f"attempt {run.attempt}: {why}; the same run starts again, and goes on from what is there"
        aspect = Aspect("Progressing", False, Reason.RUN_AGAIN, message)
        return self._say(onward, [aspect], Plan(delete=tuple(_delete(job) for job in jobs), requeue_after=2))

    def _lost(self, run: Run, jobs: Sequence[Object], lost: outcome.Lost) -> Plan:
        if run.lost + 1 < MAX_LOST:
            return self._again(run, jobs, lost.message, lost=True)
        message = f"the Job completed {run.lost + 1} times, and {lost.message}"
        hint = "check that the image is one of this project's, and that its pods are kept for a minute after their end"
        return self._failed(
            run, jobs, {"reason": Reason.RESULT_MISSING.value, "message": message, "hint": hint}
        )

    def _failed(self, run: Run, jobs: Sequence[Object], failure: Object) -> Plan:
        message = failure["message"] + (f"\n{failure['hint']}" if failure.get("hint") else "")
        aspect = Aspect("Failed", True, Reason(failure["reason"]), message, stalled=True)
        return self._end(run, jobs, [aspect], {"failure": failure}, {}, None)

    def _succeeded(self, run: Run, jobs: Sequence[Object], done: Sequence[outcome.Done]) -> Plan:
        result = self.kind.merge([verdict.result for verdict in done])
        judged, more = self.kind.judge(self.spec, result)
        uri = result.artifact["uri"]
        if result.reused:
            message = f"found {uri}, whole and of the same settings: nothing was done again"
            aspect = Aspect("Succeeded", True, Reason.REUSED, message)
        else:
            aspect = Aspect("Succeeded", True, Reason.SUCCEEDED, f"published {uri}")
        status: Object = {"artifact": result.artifact} | more
        if result.metrics:
            status["metrics"] = [{"name": name, "value": value} for name, value in result.metrics.items()]
        provenance = dict(result.provenance)
        if image := container_status(done[0].pod).get("imageID"):
            provenance["imageDigest"] = image
        return self._end(run, jobs, [aspect, *judged], status, provenance, result)

    def _end(
        self,
        run: Run,
        jobs: Sequence[Object],
        aspects: list[Aspect],
        more: Object,
        provenance: Object,
        result: Any,
    ) -> Plan:
        status = _base(self.observed, self.now, [*aspects, _RESOLVED], self._model_text()) | more
        status["inputs"] = outcome.inputs(run, result)
        status["run"] = {
            key: value
            for key, value in run.status().items()
            if key in ("name", "attempt", "output", "outputSecret", "lost")
        }
        status |= outcome.times(jobs, self.observed.status)
        status.setdefault("completionTime", now_text(self.now))
        overridden = identity.overrides(self.spec.pod)
        provenance = provenance | {"specHash": run.name}
        if version := self.observed.settings.operator_version:
            provenance["operatorVersion"] = version
        if "image" in overridden:
            provenance["imageOverridden"] = True
        if set(overridden) - {"image"}:
            provenance["environmentOverridden"] = True
        status["provenance"] = provenance
        plan = Plan(delete=_children_of(self.observed), requeue_after=self.spec.ttl_seconds_after_finished)
        return _with(self.observed, status, plan)

    # -- what is said ----------------------------------------------------------------------------------------------

    def _say(self, run: Run | None, aspects: list[Aspect], plan: Plan, *, more: Object | None = None) -> Plan:
        resolved = [] if run is None or any(a.type == "InputsResolved" for a in aspects) else [_RESOLVED]
        if refused := told(self.observed.troubles):
            aspects = [a for a in aspects if a.type != "Progressing"] + [refused]
        status = _base(self.observed, self.now, [*resolved, *aspects], self._model_text())
        if run is not None:
            status |= {"run": run.status(), "inputs": [found.status() for found in run.inputs]}
        if start := self.observed.status.get("startTime"):
            status["startTime"] = start
        return _with(self.observed, status | (more or {}), plan)

    def _model_text(self) -> str:
        return resolve.describe(self.kind.model(self.spec))


Job = Object
_RESOLVED = Aspect("InputsResolved", True, Reason.RESOLVED, "what goes in is known")


def _suspended() -> Aspect:
    return Aspect(
        "Progressing", False, Reason.SUSPENDED, "spec.suspend is true: nothing was started", held=True
    )


def _look(jobs: tuple[str, ...]) -> Look:
    return Look(jobs=jobs)


def _path(role: str) -> str:
    """The field that an input's address stands in."""
    kind, _, name = role.partition("/")
    known = {"verify": "spec.verify.text.uri", "suite": f"spec.suites[{name}].data.uri"}
    return known.get(kind, f"spec.{role}.uri")


def _queues(workload: Object, job: Object) -> bool:
    references = workload["metadata"].get("ownerReferences") or []
    return any(ref.get("uid") == job["metadata"]["uid"] for ref in references)


def _delete(found: Object) -> Delete:
    meta = found["metadata"]
    return Delete(found["kind"], meta["name"], meta["uid"])


def _children_of(observed: Observed) -> tuple[Delete, ...]:
    """What an ended run no longer needs: its Jobs, their pods with them, and its ConfigMaps."""
    return tuple(
        _delete(found)
        for kind in pruned(Prune.ENDED)
        for found in observed.of(kind)
        if "deletionTimestamp" not in found["metadata"]
    )


def _base(observed: Observed, now: datetime, aspects: Sequence[Aspect], model: str | None) -> Object:
    generation = observed.owner.generation
    made = conditions(observed.status, generation, now, RUN, aspects)
    status: Object = {"observedGeneration": generation, "phase": phase(made).value, "conditions": made}
    return status | {"model": model} if model else status


def _with(observed: Observed, status: Object, plan: Plan) -> Plan:
    """The plan with the status, and the Events that go with the change."""
    old = observed.status
    return replace(
        plan,
        status=status,
        progress=outcome.last_progress(old, status),
        events=transitions(old, status),
    )


def _after_the_end(observed: Observed, now: datetime) -> Plan:
    """The outcome stands. What is left: to note a new generation, to clear away, and to go when the time has come."""
    old = observed.status
    generation = observed.owner.generation
    status = {key: value for key, value in old.items() if key != "progress"} | {
        "observedGeneration": generation,
        "conditions": [c | {"observedGeneration": generation} for c in old["conditions"]],
    }
    plan = Plan(status=status, progress=outcome.last_progress(old, status), delete=_children_of(observed))
    ttl = (observed.obj.get("spec") or {}).get("ttlSecondsAfterFinished")
    finished = accept.parse_time(old.get("completionTime"))
    if not isinstance(ttl, int) or finished is None:
        return plan
    left = (finished + timedelta(seconds=ttl) - now).total_seconds()
    if left > 0:
        return replace(plan, requeue_after=left)
    owner = observed.owner
    return Plan(delete=(Delete(owner.kind, owner.name, owner.uid),))
