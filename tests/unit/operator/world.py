"""A cluster as a dict: resources are put in, plans are carried out, controllers and kubelets are played by methods.

It knows as much of Kubernetes as plans do: names, owners, generations. What the API server really does is tested in
tests/apiserver.
"""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

from speechless.contract import StageResult
from speechless_operator.desired.objects import LABEL_UID, Object
from speechless_operator.desired.settings import Image, Settings
from speechless_operator.plan import Event, Observed, Plan, Refusal, plan, references

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NAMESPACE = "demo"
SETTINGS = Settings(
    images={image: f"registry.example/{image}:1" for image in Image},
    artifact_store="pvc://artifacts/store",
    allow_code_execution=True,
)
OURS = ("FineTune", "Evaluation", "Quantization", "InferenceService")
Key = tuple[str, str]


class World:
    """One namespace."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.settings, self.now = settings, START
        self.objects: dict[Key, Object] = {}
        self.events: list[tuple[str, Event]] = []
        self.logs: dict[str, str] = {}
        self.refusals: tuple[Refusal, ...] = ()
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
        meta["creationTimestamp"] = self.time()
        same = old is not None and old.get("spec") == made.get("spec")
        meta["generation"] = old["metadata"]["generation"] + (not same) if old else 1
        if old and "status" in old:
            made.setdefault("status", old["status"])
        self.objects[key] = made
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
        for key, child in list(self.objects.items()):
            if any(
                ref["uid"] == gone["metadata"]["uid"] for ref in child["metadata"].get("ownerReferences", [])
            ):
                self.objects.pop(key, None)

    def pass_time(self, seconds: float) -> None:
        """Let the clock go on."""
        self.now += timedelta(seconds=seconds)

    def time(self) -> str:
        """Now, as Kubernetes writes it."""
        return self.now.strftime("%Y-%m-%dT%H:%M:%SZ")

    def of(self, kind: str) -> list[Object]:
        """All objects of a kind."""
        return [obj for (found, _), obj in self.objects.items() if found == kind]

    # -- what the operator does -----------------------------------------------------------------------------------

    def observed(self, kind: str, name: str) -> Observed:
        """What a plan for a resource would see."""
        obj = self.get(kind, name)
        uid = obj["metadata"]["uid"]
        children: dict[str, list[Object]] = {}
        for child in self.objects.values():
            if child["metadata"].get("labels", {}).get(LABEL_UID) == uid or child["kind"] == "Event":
                children.setdefault(child["kind"], []).append(child)
        return Observed(
            obj=copy.deepcopy(obj),
            children={found: tuple(copy.deepcopy(objects)) for found, objects in children.items()},
            references={
                key: copy.deepcopy(self.objects[key]) for key in references(obj) if key in self.objects
            },
            refused=self.refusals,
            logs=self.logs,
            settings=self.settings,
        )

    def plan(self, kind: str, name: str) -> Plan:
        """The plan for a resource; logs that it asks for are empty."""
        decided = plan(self.observed(kind, name), self.now)
        while decided.logs:
            self.logs |= {pod: self.logs.get(pod, "") for pod in decided.logs}
            decided = plan(self.observed(kind, name), self.now)
        return decided

    def step(self, kind: str, name: str) -> Plan:
        """Plan for a resource, and carry it out."""
        decided = self.plan(kind, name)
        for child in decided.apply:
            if not self.refusals:
                self.put(merged(self.objects.get((child["kind"], child["metadata"]["name"])), child))
        for patch in decided.patch:
            found = self.get(patch.kind, patch.name)
            self.put(found | {"spec": found["spec"] | patch.body["spec"]})
        if decided.status is not None:
            obj = self.get(kind, name)
            progress = {"progress": obj["status"]["progress"]} if "progress" in obj.get("status", {}) else {}
            obj["status"] = copy.deepcopy(decided.status) | progress
            self.events += [(f"{kind}/{name}", event) for event in decided.events]
        if decided.progress is not None:
            self.get(kind, name)["status"]["progress"] = decided.progress
        for gone in decided.delete:
            if self.get(gone.kind, gone.name)["metadata"]["uid"] == gone.uid:
                self.delete(gone.kind, gone.name)
        return decided

    def settle(self, rounds: int = 8) -> None:
        """Step for everything until nothing changes."""
        for _ in range(rounds):
            before = copy.deepcopy(self.objects)
            for kind, name in [key for key in self.objects if key[0] in OURS]:
                if (kind, name) in self.objects:
                    self.step(kind, name)
            if before == self.objects:
                return
        raise AssertionError(f"still changing after {rounds} rounds: {list(self.objects)}")

    # -- what Kubernetes does -------------------------------------------------------------------------------------

    def pod_of(self, owner: Object, number: int = 1) -> Object:
        """Make a pod of a Job or Deployment."""
        template = owner["spec"]["template"]
        name = f"{owner['metadata']['name']}-{number}"
        return self.put(
            {
                "kind": "Pod",
                "metadata": {
                    "name": name,
                    "labels": dict(template["metadata"]["labels"]),
                    "ownerReferences": [
                        {"kind": owner["kind"], "uid": owner["metadata"]["uid"], "controller": True}
                    ],
                },
                "spec": template["spec"],
                "status": {"phase": "Pending"},
            }
        )

    def run(self, pod: Object) -> None:
        """The container runs."""
        pod["status"] = {"phase": "Running", "containerStatuses": [container(running={})]}

    def end(
        self, pod: Object, result: StageResult | str = "", code: int = 0, reason: str | None = None
    ) -> None:
        """The container ended."""
        text = result if isinstance(result, str) else result.termination_message()
        state = {
            "exitCode": code,
            "reason": reason or ("Completed" if code == 0 else "Error"),
            "message": text,
        }
        pod["status"] = {
            "phase": "Succeeded" if code == 0 else "Failed",
            "containerStatuses": [container(terminated=state)],
        }

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


def container(**state: Any) -> Object:
    """A container's status."""
    return {"name": "stage", "restartCount": 0, "imageID": "registry.example/x@sha256:abc", "state": state}


def merged(old: Object | None, new: Object) -> Object:
    """What server-side apply makes of it, as far as plans care."""
    if old is None:
        return new
    return old | new | {"metadata": old["metadata"] | new["metadata"]}
