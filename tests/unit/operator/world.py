"""A cluster as a dict: resources are put in, plans are carried out, controllers and kubelets are played by methods.

It knows as much of Kubernetes as plans meet: names, owners, generations, versions, what is immutable, what is refused,
and caches that are behind, each kind by as much as a test says. What the API server really does is tested in
tests/apiserver.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from speechless.contract import StageResult
from speechless_operator.desired.children import CHILDREN
from speechless_operator.desired.objects import LABEL_KIND, LABEL_NAME, Object, controller_uid
from speechless_operator.desired.settings import Settings, image_names
from speechless_operator.plan import At, Event, Live, Look, Observed, Plan, Trouble, plan, references

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NAMESPACE = "demo"
SETTINGS = Settings(
    images={image: f"registry.example/{image}:1" for image in image_names()},
    artifact_store="pvc://artifacts/store",
    allow_code_execution=True,
)
OURS = ("FineTune", "Evaluation", "Quantization", "InferenceService")
Key = tuple[str, str]
View = dict[Key, Object]


class Refused(Exception):  # noqa: N818 - the API server's answer
    """The API server says no."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class Crash(Exception):  # noqa: N818 - the operator's end
    """The operator's process ended before a write."""


class World:
    """One namespace."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.settings, self.now = settings, START
        self.objects: View = {}
        self.events: list[tuple[str, Event]] = []
        self.logs: dict[str, str] = {}
        self.refuse: dict[str, tuple[int, str]] = {}
        """Kind to the answer that every apply of it gets."""
        self.lag: dict[str, int] = {}
        """Kind to how many changes its cache is behind."""
        self.writes: list[str] = []
        self.budget: int | None = None
        """Writes until the operator's process ends; None: it does not."""
        self.planner: Callable[[Observed, datetime], Plan] = plan
        self._history: defaultdict[str, list[View]] = defaultdict(lambda: [{}])
        self._troubles: dict[Key, tuple[Trouble, ...]] = {}
        self._seen: dict[Key, str] = {}
        self._count = 0

    # -- what people do -------------------------------------------------------------------------------------------

    def put(self, obj: Object) -> Object:
        """Create or replace an object."""
        self._count += 1
        key = obj["kind"], obj["metadata"]["name"]
        old = self.objects.get(key)
        made = copy.deepcopy(obj)
        meta = made["metadata"]
        meta.setdefault("namespace", NAMESPACE)
        meta["uid"] = old["metadata"]["uid"] if old else f"{self._count:08x}-0000-4000-8000-000000000000"
        meta["creationTimestamp"] = old["metadata"]["creationTimestamp"] if old else self.time()
        meta["resourceVersion"] = str(self._count)
        same = old is not None and old.get("spec") == made.get("spec")
        meta["generation"] = old["metadata"]["generation"] + (not same) if old else 1
        if old and "status" in old:
            made.setdefault("status", old["status"])
        self.objects[key] = made
        self._remember(key[0])
        return made

    def get(self, kind: str, name: str) -> Object:
        """An object."""
        return self.objects[kind, name]

    def status(self, kind: str, name: str) -> Object:
        """Its status."""
        return dict(self.get(kind, name).get("status", {}))

    def condition(self, kind: str, name: str, type_: str) -> Object:
        """A condition of it; empty where it is absent."""
        return next((c for c in self.status(kind, name).get("conditions", []) if c["type"] == type_), {})

    def reason(self, kind: str, name: str) -> str:
        """Why it is ready, or not."""
        return str(self.condition(kind, name, "Ready").get("reason"))

    def delete(self, kind: str, name: str) -> None:
        """Delete an object and what it owns."""
        gone = self.objects.pop((kind, name))
        self._remember(kind)
        for key, child in list(self.objects.items()):
            if controller_uid(child) == gone["metadata"]["uid"] and key in self.objects:
                self.delete(*key)

    def pass_time(self, seconds: float) -> None:
        """Let the clock go on."""
        self.now += timedelta(seconds=seconds)

    def time(self) -> str:
        """Now, as Kubernetes writes it."""
        return self.now.strftime("%Y-%m-%dT%H:%M:%SZ")

    def of(self, kind: str) -> list[Object]:
        """All objects of a kind."""
        return [obj for (found, _), obj in self.objects.items() if found == kind]

    def catch_up(self) -> None:
        """Every cache sees what there is."""
        self.lag = {}

    def _remember(self, kind: str) -> None:
        view = {key: copy.deepcopy(obj) for key, obj in self.objects.items() if key[0] == kind}
        self._history[kind].append(view)

    def _view(self, kind: str) -> View:
        """What the operator's cache has of a kind. A status that a test wrote in place is seen when there is no lag."""
        if not self.lag.get(kind):
            return {key: obj for key, obj in self.objects.items() if key[0] == kind}
        seen = self._history[kind]
        return seen[max(0, len(seen) - 1 - self.lag[kind])]

    # -- what the operator does -----------------------------------------------------------------------------------

    def observed(self, kind: str, name: str) -> Observed:
        """What a plan for a resource would see."""
        obj = copy.deepcopy(self._view(kind)[kind, name])
        uid = obj["metadata"]["uid"]
        everything = {key: o for child in (*CHILDREN, "ReplicaSet") for key, o in self._view(child).items()}
        children: dict[str, list[Object]] = {}
        for child in everything.values():
            if _belongs(child, uid, everything):
                slim = CHILDREN[child["kind"]].slim if child["kind"] in CHILDREN else copy.deepcopy
                children.setdefault(child["kind"], []).append(copy.deepcopy(slim(child)))
        known = self._seen.setdefault((kind, name), uid)
        return Observed(
            obj=obj,
            children={found: tuple(objects) for found, objects in children.items()},
            references=self._references(obj),
            troubles=self._troubles.get((kind, name), ()),
            logs=dict(self.logs),
            fresh=known == uid,
            settings=self.settings,
        )

    def _references(self, obj: Object) -> dict[Key, Object]:
        found: dict[Key, Object] = {}
        ahead = sorted(references(obj))
        while ahead:
            key = ahead.pop(0)
            other = self._view(key[0]).get(key)
            if other is not None and key not in found:
                found[key] = copy.deepcopy(other)
                ahead += sorted(references(other))
        return found

    def plan(self, kind: str, name: str) -> Plan:
        """The plan for a resource; logs that it asks for are empty, and looks see what is there."""
        return self._final(self.observed(kind, name))

    def _final(self, observed: Observed) -> Plan:
        for _ in range(6):
            decided = self.planner(observed, self.now)
            if decided.logs:
                self.logs |= {pod: self.logs.get(pod, "") for pod in decided.logs}
                observed = replace(observed, logs=dict(self.logs))
            elif decided.look:
                observed = replace(observed, live=self.live(observed, decided.look))
            else:
                return decided
        raise AssertionError("a plan that is never final")

    def live(self, observed: Observed, look: Look) -> Live:
        """What the API server itself has."""
        owner = observed.owner
        pods = [
            copy.deepcopy(pod)
            for pod in self.of("Pod")
            if (pod["metadata"]["labels"].get(LABEL_KIND), pod["metadata"]["labels"].get(LABEL_NAME))
            == (owner.kind, owner.name)
        ]
        return Live(
            jobs={
                name: copy.deepcopy(self.objects["Job", name])
                for name in look.jobs
                if ("Job", name) in self.objects
            },
            pods=tuple(pods) if look.jobs else (),
            config_maps={
                name: copy.deepcopy(self.objects["ConfigMap", name])
                for name in look.config_maps
                if ("ConfigMap", name) in self.objects
            },
        )

    def step(self, kind: str, name: str) -> Plan:
        """Plan for a resource, and carry it out as the operator does: the status first, troubles told."""
        observed = self.observed(kind, name)
        decided = self._final(observed)
        if not self._tell(observed, decided):
            return decided
        before = self._troubles.get((kind, name), ())
        found = self._act(observed, decided)
        times = {(t.at, t.kind, t.name): t.times for t in before}
        troubles = tuple(replace(t, times=1 + times.get((t.at, t.kind, t.name), 0)) for t in found)
        self._troubles[kind, name] = troubles
        if (kind, name) in self.objects and troubles != before:
            seen = replace(observed, obj=copy.deepcopy(self.get(kind, name)), troubles=troubles)
            again = self._final(seen)
            if self._tell(seen, again) and troubles:
                self._delete(again)
        return decided

    def _tell(self, observed: Observed, decided: Plan) -> bool:
        """Write status and progress; whether nobody has written the resource since it was observed."""
        owner = observed.owner
        obj = self.objects.get((owner.kind, owner.name))
        if decided.status is None or obj is None:
            return True
        old = {key: value for key, value in (observed.obj.get("status") or {}).items() if key != "progress"}
        if decided.status != old:
            if obj["metadata"].get("resourceVersion") != observed.obj["metadata"].get("resourceVersion"):
                return False
            progress = {"progress": obj["status"]["progress"]} if "progress" in obj.get("status", {}) else {}
            self._spend(f"status {owner.kind}")
            self._write(obj, copy.deepcopy(decided.status) | progress)
            self.events += [(f"{owner.kind}/{owner.name}", event) for event in decided.events]
        if decided.progress is not None:
            self._write(obj, obj["status"] | {"progress": decided.progress})
        return True

    def _write(self, obj: Object, status: Object) -> None:
        self._count += 1
        obj["status"] = status
        obj["metadata"]["resourceVersion"] = str(self._count)
        self._remember(obj["kind"])

    def _act(self, observed: Observed, decided: Plan) -> list[Trouble]:
        for child in decided.apply:
            kind, name = child["kind"], child["metadata"]["name"]
            try:
                self.apply(child)
            except Refused as no:
                return [Trouble(At.APPLY, kind, name, no.code, no.message)]
        for patch in decided.patch:
            if (patch.kind, patch.name) in self.objects:
                found = self.get(patch.kind, patch.name)
                self._spend(f"patch {patch.kind}")
                self.put(found | {"spec": found["spec"] | patch.body["spec"]})
        self._delete(decided)
        return []

    def _delete(self, decided: Plan) -> None:
        for gone in decided.delete:
            found = self.objects.get((gone.kind, gone.name))
            if found is not None and found["metadata"]["uid"] == gone.uid:
                self._spend(f"delete {gone.kind}")
                self.delete(gone.kind, gone.name)

    def _spend(self, what: str) -> None:
        """One write; the process may end before it."""
        if self.budget is not None:
            self.budget -= 1
            if self.budget < 0:
                raise Crash(what)
        self.writes.append(what)

    def restart(self) -> None:
        """Another process takes over: it lists what is there, and knows of nothing before that."""
        self.budget = None
        for kind, seen in self._history.items():
            seen.clear()
            self._remember(kind)
        self._troubles = {}
        self._seen = {key: "" for key in self.objects if key[0] in OURS}

    def apply(self, child: Object) -> Object:
        """Server-side apply of a child, with what the API server would refuse."""
        kind = child["kind"]
        old = self.objects.get((kind, child["metadata"]["name"]))
        if kind in self.refuse:
            raise Refused(*self.refuse[kind])
        if old is not None:
            controller = controller_uid(old)
            if controller and controller != controller_uid(child):
                raise Refused(
                    422, "metadata.ownerReferences: Only one reference can have Controller set to true"
                )
            if _fixed(old) != _fixed(merged(old, child)):
                raise Refused(422, f"{kind}: field is immutable")
        self._spend(f"apply {kind}")
        return old if old is not None and merged(old, child) == old else self.put(merged(old, child))

    def settle(self, rounds: int = 10) -> None:
        """Step for everything until nothing changes."""
        for _ in range(rounds):
            before = copy.deepcopy(self.objects)
            for kind, name in [key for key in self.objects if key[0] in OURS]:
                if (kind, name) in self.objects and (kind, name) in self._view(kind):
                    self.step(kind, name)
            if before == self.objects:
                return
        raise AssertionError(f"still changing after {rounds} rounds: {list(self.objects)}")

    # -- what Kubernetes does -------------------------------------------------------------------------------------

    def pod_of(self, owner: Object, number: int = 1) -> Object:
        """Make a pod of a Job or Deployment."""
        template = owner["spec"]["template"]
        name = f"{owner['metadata']['name']}-{number}"
        labels = dict(template["metadata"]["labels"])
        above = owner
        if owner["kind"] == "Deployment":
            reference = {"kind": "Deployment", "uid": owner["metadata"]["uid"], "controller": True}
            set_name = f"{owner['metadata']['name']}-set"
            above = self.objects.get(("ReplicaSet", set_name)) or self.put(
                {"kind": "ReplicaSet", "metadata": {"name": set_name, "ownerReferences": [reference]}}
            )
        reference = {"kind": above["kind"], "uid": above["metadata"]["uid"], "controller": True}
        return self.put(
            {
                "kind": "Pod",
                "metadata": {"name": name, "labels": labels, "ownerReferences": [reference]},
                "spec": template["spec"],
                "status": {"phase": "Pending"},
            }
        )

    def run(self, pod: Object) -> None:
        """The container runs."""
        pod["status"] = {"phase": "Running", "containerStatuses": [container(running={})]}
        self._remember("Pod")

    def end(
        self, pod: Object, result: StageResult | str = "", code: int = 0, reason: str | None = None
    ) -> None:
        """The container ended. A result is of the run that the pod belongs to."""
        text = result if isinstance(result, str) else self.of_the_run(pod, result).termination_message()
        state = {
            "exitCode": code,
            "reason": reason or ("Completed" if code == 0 else "Error"),
            "message": text,
        }
        pod["status"] = {
            "phase": "Succeeded" if code == 0 else "Failed",
            "containerStatuses": [container(terminated=state)],
        }
        self._remember("Pod")

    def of_the_run(self, pod: Object, result: StageResult) -> StageResult:
        labels = pod["metadata"]["labels"]
        run = self.status(labels[LABEL_KIND], labels[LABEL_NAME]).get("run", {})
        if result.artifact is None or "output" not in run:
            return result
        known = {entry["name"]: entry.get("digest") for entry in run["inputs"]}
        inputs = tuple(i.model_copy(update={"digest": known.get(i.name) or i.digest}) for i in result.inputs)
        artifact = result.artifact.model_copy(update={"uri": run["output"]})
        return result.model_copy(update={"artifact": artifact, "inputs": inputs})

    def job_ends(self, job: Object, kind: str = "Complete", reason: str = "") -> None:
        """The Job controller closes a Job."""
        ended = {
            "type": kind,
            "status": "True",
            "reason": reason,
            "message": "",
            "lastTransitionTime": self.time(),
        }
        job["status"] = {"startTime": self.time(), "conditions": [ended]}
        if kind == "Complete":
            job["status"]["completionTime"] = self.time()
        self._remember("Job")

    def succeed(self, kind: str, name: str, result: StageResult) -> None:
        """Let a resource's run go well, from its Job to its status."""
        self.settle()
        job = self.get("Job", self.status(kind, name)["job"])
        self.end(self.pod_of(job), result)
        self.job_ends(job)
        self.settle()

    def fail(self, kind: str, name: str, result: StageResult | str = "", code: int = 65, **how: Any) -> None:
        """Let a resource's run fail for good."""
        self.settle()
        job = self.get("Job", self.status(kind, name)["job"])
        self.end(self.pod_of(job), result, code, **how)
        self.job_ends(job, "Failed", "PodFailurePolicy")
        self.settle()

    def serve(self, deployment: Object) -> None:
        """Every pod of a Deployment is ready."""
        replicas = deployment["spec"]["replicas"]
        deployment["status"] = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": replicas,
            "readyReplicas": replicas,
            "availableReplicas": replicas,
        }
        self._remember("Deployment")


def container(**state: Any) -> Object:
    """A container's status."""
    return {"name": "stage", "restartCount": 0, "imageID": "registry.example/x@sha256:abc", "state": state}


def merged(old: Object | None, new: Object) -> Object:
    """What server-side apply makes of it, as far as plans care."""
    if old is None:
        return new
    meta = old["metadata"] | new["metadata"]
    for key in ("labels", "annotations"):
        both = (old["metadata"].get(key) or {}) | (new["metadata"].get(key) or {})
        meta |= {key: both} if both else {}
    spec = {"spec": (old.get("spec") or {}) | new["spec"]} if "spec" in new else {}
    return old | new | {"metadata": meta} | spec


def _fixed(obj: Object) -> object:
    """What of an object never changes."""
    match obj["kind"]:
        case "ConfigMap":
            return obj.get("data") if obj.get("immutable") else None
        case "Job":
            return obj["spec"]["template"]
        case "Deployment":
            return obj["spec"]["selector"]
    return None


def _belongs(child: Object, uid: str, everything: View) -> bool:
    """Whether an object belongs to a resource: by its controllers, an Event by what it is about."""
    above = {obj["metadata"]["uid"]: obj for obj in everything.values()}
    owner = (
        (child.get("involvedObject") or {}).get("uid") if child["kind"] == "Event" else controller_uid(child)
    )
    for _ in range(4):
        if owner == uid:
            return True
        if owner not in above:
            return False
        owner = controller_uid(above[owner])
    return False
