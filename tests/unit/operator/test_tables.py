"""A row that is added to a table of the contract is enough: the schema, the ceilings and the children follow."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from speechless.contract import Format, engines, storage, suites
from speechless_operator.api import KINDS, EvaluationSpec, InferenceServiceSpec
from speechless_operator.api.base import VALIDATIONS
from speechless_operator.crd import structural_schema
from speechless_operator.desired.inputs import Input, Run
from speechless_operator.desired.mounts import Mounts
from speechless_operator.desired.settings import image_names
from tests.unit.operator.make import a_finetune, a_service, an_evaluation
from tests.unit.operator.world import SETTINGS, World

ECHO = replace(
    engines.ENGINES["LlamaCpp"],
    name="Echo",
    text="says it again.",
    formats=(Format.HUGGING_FACE,),
    image="serve-echo",
    arguments={"--loud": False},
    reserved=("--port",),
    port=9999,
    health_path="/up",
)
DANCE = replace(
    suites.SUITES["Perplexity"],
    name="Dance",
    text="how well it dances.",
    executes_code=True,
    options=("seed",),
    metrics=lambda _: ("steps",),
)
TAPE = storage.Scheme(
    name="tape",
    text="a tape in the robot",
    example="tape://<claim>/<path>",
    pattern="^tape://[0-9]+/.+$",
    may_write=False,
    administrator_only=True,
    mounts=storage.Mount.CLAIM,
    host="claim",
    settings=(),
    chooses=False,
    before_run="/",
    store="local",
)


@pytest.fixture(autouse=True)
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """One row more in each table."""
    monkeypatch.setitem(engines.ENGINES, "Echo", ECHO)
    monkeypatch.setitem(suites.SUITES, "Dance", DANCE)
    monkeypatch.setitem(storage.SCHEMES, "tape", TAPE)


def schema(kind: str) -> Any:
    return structural_schema(KINDS[kind].spec)


def rules(node: Any) -> str:
    return json.dumps(node.get(VALIDATIONS, []))


def test_an_engine_is_in_the_schema_with_its_arguments() -> None:
    spec = schema("InferenceService")
    assert spec["properties"]["engine"]["enum"] == ["LlamaCpp", "Echo"]
    assert "Echo: says it again." in spec["properties"]["engine"]["description"]
    assert "self.engine != 'Echo'" in rules(spec)
    assert "Allowed for Echo: --loud" in rules(spec)
    InferenceServiceSpec.model_validate({"model": {"uri": "pvc://m/x"}, "engine": "Echo"})


def test_an_engine_that_is_not_offered_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(engines.ENGINES, "Echo", replace(ECHO, offered=False))
    assert schema("InferenceService")["properties"]["engine"]["enum"] == ["LlamaCpp"]
    assert "serve-echo" not in image_names()
    with pytest.raises(ValidationError, match="there is no engine Echo; there are: LlamaCpp"):
        InferenceServiceSpec.model_validate({"model": {"uri": "pvc://m/x"}, "engine": "Echo"})


def test_an_engine_serves_by_its_image_port_and_probes() -> None:
    assert "serve-echo" in image_names()
    world = World(replace(SETTINGS, images={**SETTINGS.images, "serve-echo": "registry.example/echo:1"}))
    world.put(a_service().on("pvc://models/x").with_(engine="Echo", engineArgs=["--loud"]).obj())
    world.settle()
    (deployment,) = world.of("Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example/echo:1"
    assert [port["containerPort"] for port in container["ports"] if port["name"] == "http"] == [9999]
    assert container["readinessProbe"]["httpGet"]["path"] == "/up"
    (config,) = world.of("ConfigMap")
    stage = json.loads(config["data"]["stage.json"])
    assert (stage["engine"], stage["engineArgs"], stage["port"]) == ("Echo", ["--loud"], 9999)


def test_an_engines_forbidden_argument_is_told_where_the_schema_was_passed_by() -> None:
    world = World()
    world.put(a_service().on("pvc://models/x").with_(engineArgs=["--lora", "x"]).obj())
    world.settle()
    assert world.reason("InferenceService", "chat") == "InvalidSpec"
    assert "--lora is not allowed" in world.condition("InferenceService", "chat", "Ready")["message"]
    assert world.of("Deployment") == []


def test_a_suite_is_in_the_schema_with_its_options() -> None:
    suite = schema("Evaluation")["properties"]["suites"]["items"]
    assert suite["properties"]["type"]["enum"] == ["HumanEval", "Perplexity", "Dance"]
    assert (
        "samplesPerTask, k, temperature, maxTokens, timeoutSeconds, limit are no options of type Dance"
        in rules(suite)
    )


def test_both_ceilings_hold_for_a_suite_that_runs_code() -> None:
    assert "s.type in ['HumanEval', 'Dance']" in rules(schema("Evaluation"))
    dance = {"name": "d", "type": "Dance", "data": {"uri": "pvc://models/t"}}
    world = World(replace(SETTINGS, allow_code_execution=False))
    world.put(an_evaluation().on("pvc://models/x").with_(suites=[dance]).obj())
    world.settle()
    assert world.reason("Evaluation", "scored") == "CodeExecutionNotAllowed"
    assert world.of("Job") == []


def test_a_suite_reaches_its_stage() -> None:
    dance = {"name": "d", "type": "Dance", "data": {"uri": "pvc://models/t"}, "seed": 7}
    world = World()
    world.put(an_evaluation().on("pvc://models/x").with_(suites=[dance]).obj())
    world.settle()
    (config,) = world.of("ConfigMap")
    assert json.loads(config["data"]["stage.json"])["suites"] == [dance]


def test_a_scheme_is_in_the_schema_with_its_rule() -> None:
    uri = schema("FineTune")["properties"]["dataset"]["properties"]["uri"]
    assert uri["pattern"] == "^(pvc|hf|s3|gs|az|oci|image|file|tape)://.+$"
    assert "self.matches('^tape://[0-9]+/.+$')" in rules(uri)
    assert "`tape://<claim>/<path>` (a tape in the robot)" in rules(uri)
    EvaluationSpec.model_validate(
        {
            "model": {"uri": "tape://7/x"},
            "suites": [{"name": "d", "type": "Dance", "data": {"uri": "tape://7/y"}}],
        }
    )
    with pytest.raises(ValidationError, match="must be `pvc://"):
        EvaluationSpec.model_validate({"model": {"uri": "disk://7/x"}, "suites": []})


def test_a_scheme_that_needs_a_claim_is_mounted() -> None:
    run = Run((Input("a", "tape://seven/x"), Input("b", "file:///y")), "pvc://out/z")
    assert Mounts.of(run).writable == {"out": True, "seven": False}
    world = World(replace(SETTINGS, allow_file_uris=True))
    world.put(a_finetune().on("tape://seven/x").obj())
    world.settle()
    (job,) = world.of("Job")
    volumes = job["spec"]["template"]["spec"]["volumes"]
    claims = [
        found["persistentVolumeClaim"]["claimName"] for found in volumes if "persistentVolumeClaim" in found
    ]
    assert claims == ["artifacts", "models", "seven"]


def test_a_scheme_for_administrators_and_one_that_cannot_be_written_are_held_back() -> None:
    world = World()
    world.put(a_finetune("reads").on("tape://seven/x").obj())
    world.put(a_finetune("writes").with_(output={"uri": "tape://seven/x"}).obj())
    world.settle()
    assert [world.reason("FineTune", name) for name in ("reads", "writes")] == ["InvalidSpec", "InvalidSpec"]
    assert world.of("Job") == []
