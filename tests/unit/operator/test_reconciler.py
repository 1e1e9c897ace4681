"""One round of the frame: what goes wrong is told on the resource, remembered, and told off again when it is over."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from speechless_operator.desired.objects import Object
from speechless_operator.plan import Observed, Plan, plan
from speechless_operator.runtime.cache import Cache, Key
from speechless_operator.runtime.client import ApiError
from speechless_operator.runtime.queue import WorkQueue
from speechless_operator.runtime.reconciler import Reconciler
from tests.unit.operator.make import a_finetune, a_service
from tests.unit.operator.world import NAMESPACE, SETTINGS, Refused, World

KEY: Key = ("FineTune", NAMESPACE, "tuned")


class Client:
    """The API server as a World has it, with faults: (verb, kind) to what is raised."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.faults: dict[tuple[str, str], ApiError] = {}

    def _fault(self, verb: str, kind: str) -> None:
        if error := self.faults.get((verb, kind)):
            raise error

    async def apply(self, obj: Object) -> Object:
        """Server-side apply of a child."""
        self._fault("apply", obj["kind"])
        try:
            return copy.deepcopy({"apiVersion": "v1"} | self.world.apply(obj))
        except Refused as no:
            raise ApiError(no.code, no.message, "PATCH") from no

    async def apply_status(self, obj: Object, status: Object, *_: Any, **__: Any) -> Object:
        """Apply a status, if nobody has written it since."""
        self._fault("status", obj["kind"])
        found = self.world.get(obj["kind"], obj["metadata"]["name"])
        if found["metadata"]["resourceVersion"] != obj["metadata"]["resourceVersion"]:
            raise ApiError(409, "the object has been modified", "PATCH")
        self.world._write(found, copy.deepcopy(status))
        return copy.deepcopy(found)

    async def patch(self, resource: Any, namespace: str, name: str, body: Object, **_: Any) -> Object:
        """Merge some fields."""
        self._fault("patch", resource.kind)
        found = self.world.get(resource.kind, name)
        return copy.deepcopy(self.world.put(found | {"spec": found["spec"] | body["spec"]}))

    async def delete(self, resource: Any, namespace: str, name: str, uid: str) -> None:
        """Delete."""
        self._fault("delete", resource.kind)
        found = self.world.objects.get((resource.kind, name))
        if found is not None and found["metadata"]["uid"] != uid:
            raise ApiError(409, "Precondition failed: UID in precondition", "DELETE")
        if found is not None:
            self.world.delete(resource.kind, name)

    async def get(self, resource: Any, namespace: str, name: str) -> Object:
        """One object."""
        self._fault("get", resource.kind)
        if (resource.kind, name) not in self.world.objects:
            raise ApiError(404, "not found", "GET")
        return copy.deepcopy(self.world.get(resource.kind, name))

    async def list(self, resource: Any, namespace: str, *, labels: str) -> tuple[list[Object], int]:
        """Objects by labels."""
        self._fault("list", resource.kind)
        return copy.deepcopy(self.world.of(resource.kind)), 0

    async def log(self, *_: Any, **__: Any) -> str:
        """The end of a log."""
        return ""


class Told:
    """Keeps what would be an Event."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def tell(self, obj: Object, event: Any) -> None:
        """One more."""
        self.events.append(event.reason)


class Scene:
    """A reconciler over a World."""

    def __init__(self, planner: Callable[[Observed, datetime], Plan] = plan) -> None:
        self.world, self.recorder = World(), Told()
        self.client, self.cache = Client(self.world), Cache()
        self.queue: WorkQueue[Key] = WorkQueue(lambda key: key[1])
        self.reconciler = Reconciler(
            self.client,  # type: ignore[arg-type]
            self.cache,
            self.queue,
            SETTINGS,
            keep=self.cache.put,
            made=self.cache.put,
            recorder=self.recorder,  # type: ignore[arg-type]
            planner=planner,
        )

    def put(self, made: Any) -> None:
        """Create a resource."""
        self.world.put(made.obj())

    async def rounds(self, count: int = 1, key: Key = KEY) -> None:
        """So many rounds for a key; before each the watches tell what there is."""
        for _ in range(count):
            for kind, namespace, name in self.cache.keys(["Job", "ConfigMap", "FineTune"]):
                if (kind, name) not in self.world.objects:
                    self.cache.lose((kind, namespace, name))
            for obj in list(self.world.objects.values()):
                self.cache.put(copy.deepcopy({"apiVersion": "v1"} | obj))
            self.queue.add(key)
            assert await self.queue.get() == key
            await self.reconciler._one(key)
            self.queue.done(key)

    def reason(self) -> str:
        """Why the FineTune is ready, or not."""
        return self.world.reason("FineTune", "tuned")


def played(scenario: Callable[[Scene], Any], **how: Any) -> Scene:
    """Run a scenario in an event loop of its own."""

    async def go() -> Scene:
        scene = Scene(**how)
        scene.put(a_finetune())
        await scenario(scene)
        scene.queue.close()
        return scene

    return asyncio.run(go())


@pytest.mark.parametrize("kind", ["ConfigMap", "Job"])
@pytest.mark.parametrize(
    ("code", "message", "reason", "after"),
    [
        (500, "duplicate entries for key", "ApiError", 2),
        (503, "the server is currently unable", "ApiError", 2),
        (0, "TimeoutError", "ApiError", 2),
        (429, "too many requests", "ApiError", 2),
        (400, "found invalid Unicode", "ChildRefused", 1),
        (403, "exceeded quota: q", "QuotaExceeded", 1),
        (404, "the server could not find the requested resource", "ChildRefused", 1),
        (413, "request entity too large", "ChildRefused", 1),
        (422, "invalid: spec.template", "ChildRefused", 1),
    ],
)
def test_whatever_the_api_server_answers_is_told_on_the_resource(
    kind: str, code: int, message: str, reason: str, after: int
) -> None:
    async def scenario(scene: Scene) -> None:
        scene.client.faults["apply", kind] = ApiError(code, message, "PATCH")
        await scene.rounds(after)
        assert scene.reason() == reason
        assert message in scene.world.condition("FineTune", "tuned", "Ready")["message"]
        writes = scene.world._count
        await scene.rounds(3)
        assert scene.world._count == writes, "the same again is told once"
        assert scene.reason() == reason
        scene.client.faults = {}
        await scene.rounds(2)
        assert scene.reason() == "Starting"

    scene = played(scenario)
    assert scene.recorder.events == [reason]


def test_one_answer_that_passes_is_no_news() -> None:
    async def scenario(scene: Scene) -> None:
        scene.client.faults["apply", "Job"] = ApiError(503, "no", "PATCH")
        await scene.rounds()
        scene.client.faults = {}
        await scene.rounds()

    scene = played(scenario)
    assert scene.recorder.events == []
    assert scene.reason() == "Starting"


def test_a_defect_is_told_and_the_next_round_may_be_better() -> None:
    broken = [True]

    def planner(observed: Observed, now: datetime) -> Plan:
        if broken:
            raise KeyError("a field that nobody thought of")
        return plan(observed, now)

    async def scenario(scene: Scene) -> None:
        await scene.rounds(2)
        assert scene.reason() == "OperatorError"
        assert "KeyError" in scene.world.condition("FineTune", "tuned", "Stalled")["message"]
        broken.clear()
        await scene.rounds(2)
        assert scene.reason() == "Starting"

    played(scenario, planner=planner)


def test_a_defect_says_nothing_of_what_serves_and_overwrites_no_outcome() -> None:
    async def scenario(scene: Scene) -> None:
        scene.put(a_service().on("pvc://models/m.gguf"))
        serving, name = ("InferenceService", NAMESPACE, "chat"), ("InferenceService", "chat")
        await scene.rounds(2, serving)
        for deployment in scene.world.of("Deployment"):
            scene.world.serve(scene.world.put(deployment))
            deployment["metadata"]["resourceVersion"] = str(scene.world._count)
        await scene.rounds(3, serving)
        assert scene.world.condition(*name, "Ready")["status"] == "True"

        def broken(observed: Observed, now: datetime) -> Plan:
            raise ValueError("no")

        scene.reconciler._planner = broken
        await scene.rounds(1, serving)
        assert scene.world.condition(*name, "Ready")["status"] == "True"
        assert scene.world.condition(*name, "Stalled")["reason"] == "OperatorError"
        assert scene.world.status(*name)["servingRevision"]

    played(scenario)


def test_a_status_that_the_crd_refuses_is_told_in_the_words_of_the_one_before() -> None:
    def planner(observed: Observed, now: datetime) -> Plan:
        made = plan(observed, now)
        return Plan(status=made.status | {"model": "x" * 99_999}) if made.status else made

    async def scenario(scene: Scene) -> None:
        real = scene.client.apply_status

        async def refusing(obj: Object, status: Object, *a: Any, **k: Any) -> Object:
            if len(str(status.get("model", ""))) > 1024:
                raise ApiError(422, "status.model: Too long: may not be more than 1024 bytes", "PATCH")
            return await real(obj, status, *a, **k)

        scene.client.apply_status = refusing  # type: ignore[method-assign]
        await scene.rounds(2)
        assert scene.reason() == "StatusRefused"
        assert "status.model: Too long" in scene.world.condition("FineTune", "tuned", "Ready")["message"]

    played(scenario, planner=planner)


def test_what_cannot_be_looked_at_is_not_taken_for_absent() -> None:
    async def scenario(scene: Scene) -> None:
        scene.reconciler.begin([KEY])  # it was there before: a look comes before its Job
        scene.client.faults["list", "Pod"] = ApiError(403, "pods is forbidden", "GET")
        await scene.rounds(2)
        assert scene.world.of("Job") == []
        assert scene.reason() == "ApiError"
        scene.client.faults = {}
        await scene.rounds(2)
        assert len(scene.world.of("Job")) == 1
        assert scene.reason() == "Starting"

    played(scenario)


def test_a_race_is_no_trouble() -> None:
    async def scenario(scene: Scene) -> None:
        scene.client.faults["status", "FineTune"] = ApiError(409, "modified", "PATCH")
        await scene.rounds()
        assert scene.world.of("Job") == [], "nothing is made of a run that is not written down"
        scene.client.faults = {}
        await scene.rounds()
        assert scene.reason() == "Starting"

    assert played(scenario).recorder.events == []


def test_an_immutable_configmap_of_another_version_is_replaced_before_a_job_needs_it() -> None:
    async def scenario(scene: Scene) -> None:
        scene.client.faults["apply", "Job"] = ApiError(403, "exceeded quota: q", "PATCH")
        await scene.rounds(1)
        (told,) = scene.world.of("ConfigMap")
        told["data"] = {"stage.json": '{"as": "another version wrote it"}'}
        scene.client.faults = {}
        await scene.rounds(3)
        (told,) = scene.world.of("ConfigMap")
        assert "another version" not in told["data"]["stage.json"]
        assert len(scene.world.of("Job")) == 1

    played(scenario)


def test_a_plan_that_is_never_final_is_a_defect() -> None:
    async def scenario(scene: Scene) -> None:
        await scene.rounds(1)
        assert scene.reason() == "OperatorError"

    played(scenario, planner=lambda observed, now: Plan(logs=("a-pod",)))
