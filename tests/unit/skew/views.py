"""What must stay as it is, whichever operator takes over: looked at in a list of objects."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from tests.skew.archive import DATA, run_old

Object = dict[str, Any]
OURS = ("FineTune", "Evaluation", "Quantization", "InferenceService")
PROGRAMS = DATA.parent


@cache
def _texts() -> dict[str, str]:
    return {path.stem: path.read_text() for path in sorted(DATA.glob("*.json"))}


def names() -> list[str]:
    """The scenarios that are stored."""
    return list(_texts())


def stored(name: str) -> list[Object]:
    """A scenario's objects, as the version before left them."""
    found: list[Object] = json.loads(_texts()[name])
    return found


def settled_by_old(objects: dict[str, list[Object]]) -> dict[str, list[Object]]:
    """The objects after the older operator took them over; a defect of it is a failed test."""
    found: dict[str, list[Object]] = run_old(PROGRAMS / "scenarios.py", "settle", given=objects)
    return found


def read_by_old(texts: dict[str, list[str]]) -> dict[str, list[Any]]:
    """Texts of the contract as the older version understands them."""
    found: dict[str, list[Any]] = run_old(PROGRAMS / "contract.py", given=texts)
    return found


def of(objects: Iterable[Object], *kinds: str) -> dict[str, Object]:
    """`Kind/name` to object."""
    return {f"{o['kind']}/{o['metadata']['name']}": o for o in objects if o["kind"] in kinds}


def uids(objects: Iterable[Object], kind: str) -> set[str]:
    """The uids of a kind."""
    return {obj["metadata"]["uid"] for obj in objects if obj["kind"] == kind}


def told(obj: Object, kind: str) -> Object:
    """A condition; empty where it is absent."""
    return next((c for c in obj.get("status", {}).get("conditions", []) if c["type"] == kind), {})


def ends(objects: Iterable[Object]) -> dict[str, Object]:
    """What is said for ever of the runs that ended."""
    kept = ("artifact", "metrics", "failure", "inputs", "completionTime", "startTime", "score")
    found = {}
    for key, obj in of(objects, *OURS).items():
        verdicts = {kind: told(obj, kind) for kind in ("Succeeded", "Failed", "Passed") if told(obj, kind)}
        if any(kind != "Passed" and verdict["status"] == "True" for kind, verdict in verdicts.items()):
            found[key] = {name: obj["status"].get(name) for name in kept} | {
                kind: {k: v for k, v in verdict.items() if k != "observedGeneration"}
                for kind, verdict in verdicts.items()
            }
    return found


def served(objects: Iterable[Object]) -> dict[str, Object]:
    """InferenceServices whose own Service has a Deployment behind it that serves: the Deployment, by their name."""
    objects = list(objects)
    found = {}
    for name in [obj["metadata"]["name"] for obj in of(objects, "InferenceService").values()]:
        service = of(objects, "Service").get(f"Service/{name}")
        if service is None:
            continue
        selector = service["spec"]["selector"]
        for deployment in of(objects, "Deployment").values():
            labels = deployment["spec"]["template"]["metadata"]["labels"]
            if selector.items() <= labels.items() and deployment.get("status", {}).get("observedGeneration"):
                found[name] = deployment
    return found


def missing_specs(objects: Iterable[Object]) -> list[str]:
    """The ConfigMaps that running workloads mount and that are not there."""
    objects = list(objects)
    there = {obj["metadata"]["name"] for obj in objects if obj["kind"] == "ConfigMap"}
    return [
        volume["configMap"]["name"]
        for owner in of(objects, "Job", "Deployment").values()
        for volume in owner["spec"]["template"]["spec"]["volumes"]
        if "configMap" in volume and volume["configMap"]["name"] not in there and not _ended(owner)
    ]


def _ended(job: Object) -> bool:
    return any(told(job, kind).get("status") == "True" for kind in ("Complete", "Failed"))


def stage_specs(objects: Iterable[Object]) -> list[str]:
    """Every stage.json."""
    return [obj["data"]["stage.json"] for obj in objects if obj["kind"] == "ConfigMap"]


def run_annotations(objects: Iterable[Object]) -> list[str]:
    """What was decided when a child was made, as it is kept on the child."""
    annotations = [
        o["metadata"].get("annotations", {}) for o in objects if o["kind"] in ("Job", "Deployment")
    ]
    return [found["speechless.dev/run"] for found in annotations if "speechless.dev/run" in found]


def program(name: str) -> Path:
    """One of the programs that run with the older version's code."""
    return PROGRAMS / name
