"""The health check for Argo CD on the page about GitOps, run on statuses that the operator makes."""

from __future__ import annotations

from functools import cache
from typing import Any

import lupa.lua51 as lua  # type: ignore[import-untyped]
import pytest
import yaml

from tests.skew import scenarios
from tests.unit.docs.pages import manifests, page

Object = dict[str, Any]
HEALTHY, PROGRESSING, DEGRADED, SUSPENDED = "Healthy", "Progressing", "Degraded", "Suspended"


@cache
def script() -> str:
    """The script, out of the ConfigMap on the page."""
    (config,) = (found for found in manifests(page("howto/gitops.md")) if found["kind"] == "ConfigMap")
    (rule,) = yaml.safe_load(config["data"]["resource.customizations"]).values()
    found: str = rule["health.lua"]
    return found


def health(obj: Object) -> tuple[str, str]:
    """Status and message, as Argo CD runs it: Lua 5.1, the object as the global `obj`."""
    runtime = lua.LuaRuntime(unpack_returned_tuples=True)
    runtime.globals().obj = runtime.table_from(obj, recursive=True)
    told = runtime.execute(script())
    return told["status"], told["message"]


@cache
def recorded() -> dict[str, list[Object]]:
    return scenarios.record()


def find(scenario: str, kind: str) -> Object:
    return next(found for found in recorded()[scenario] if found["kind"] == kind)


@pytest.mark.parametrize(
    ("scenario", "kind", "expected"),
    [
        ("waiting", "Quantization", PROGRESSING),
        ("starting", "FineTune", PROGRESSING),
        ("running", "FineTune", PROGRESSING),
        ("retrying", "FineTune", PROGRESSING),
        ("suspended", "FineTune", SUSPENDED),
        ("succeeded", "FineTune", HEALTHY),
        ("gate-failed", "Evaluation", HEALTHY),
        ("failed", "FineTune", DEGRADED),
        ("rolling-out-first", "InferenceService", PROGRESSING),
        ("serving", "InferenceService", HEALTHY),
        ("serving-one-rolling-out-another", "InferenceService", PROGRESSING),
        ("serving-scaled-to-zero", "InferenceService", HEALTHY),
        ("serving-behind-a-closed-gate", "InferenceService", HEALTHY),
        ("gate-closed-nothing-serves", "InferenceService", DEGRADED),
    ],
)
def test_the_script_says_what_the_status_means(scenario: str, kind: str, expected: str) -> None:
    obj = find(scenario, kind)
    told, message = health(obj)
    assert told == expected, obj["status"]["conditions"]
    assert message in {condition["message"] for condition in obj["status"]["conditions"]}


def test_a_resource_that_nobody_looked_at_is_progressing() -> None:
    obj = find("succeeded", "FineTune")
    assert health({**obj, "status": {}})[0] == PROGRESSING
    assert health({key: value for key, value in obj.items() if key != "status"})[0] == PROGRESSING


def test_a_change_that_nobody_looked_at_is_progressing() -> None:
    obj = find("serving", "InferenceService")
    later = {**obj, "metadata": {**obj["metadata"], "generation": obj["metadata"]["generation"] + 1}}
    assert health(later)[0] == PROGRESSING
