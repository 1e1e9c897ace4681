"""A custom resource definition with the traits of ours: what the API server makes of them is tested here."""

from __future__ import annotations

from typing import Any

from tests.support.kube import Object
from tests.support.namespaces import RUN_LABEL

IMMUTABLE_MESSAGE = "model cannot change once set; create a new Probe instead"
ONE_SOURCE_MESSAGE = "set exactly one of uri and fineTune"


def _condition() -> Object:
    text = {"type": "string", "maxLength": 32768}
    properties = {
        "type": {"type": "string", "maxLength": 316},
        "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
        "reason": text,
        "message": text,
        "observedGeneration": {"type": "integer"},
        "lastTransitionTime": {"type": "string", "format": "date-time"},
    }
    return {"type": "object", "required": ["type", "status"], "properties": properties}


def _model() -> Object:
    return {
        "type": "object",
        "properties": {
            "uri": {"type": "string", "maxLength": 1024},
            "fineTune": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string", "minLength": 1, "maxLength": 63}},
            },
        },
        "x-kubernetes-validations": [
            {
                "rule": "[has(self.uri), has(self.fineTune)].filter(x, x).size() == 1",
                "message": ONE_SOURCE_MESSAGE,
            },
            {"rule": "self == oldSelf", "message": IMMUTABLE_MESSAGE},
        ],
    }


def _suites(bounded: bool) -> Object:
    bounds = {"maxItems": 16} if bounded else {}
    name: Object = {"type": "string", **({"maxLength": 63} if bounded else {})}
    return {
        "type": "array",
        **bounds,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "items": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": name, "samples": {"type": "integer", "default": 1, "minimum": 1}},
        },
        # Compares each with each: cheap for 16 short names, refused when nothing bounds them.
        "x-kubernetes-validations": [
            {
                "rule": "self.all(a, self.all(b, a.name == b.name || !a.name.startsWith(b.name)))",
                "message": "no suite's name may begin with another's",
            }
        ],
    }


def probe_crd(group: str, run: str, *, bounded: bool = True) -> Object:
    """The definition of kind Probe in `group`; not `bounded`: without the limits that CEL's cost needs."""
    spec: dict[str, Any] = {
        "type": "object",
        "required": ["model"],
        "properties": {
            "model": _model(),
            "suites": _suites(bounded),
            "suspend": {"type": "boolean", "default": False},
            "method": {"type": "string", "enum": ["Full", "LoRA"], "default": "LoRA"},
        },
    }
    status = {
        "type": "object",
        "properties": {
            "phase": {"type": "string", "maxLength": 64},
            "observedGeneration": {"type": "integer"},
            "progress": {"type": "object", "properties": {"percent": {"type": "integer"}}},
            "conditions": {
                "type": "array",
                "maxItems": 16,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
                "items": _condition(),
            },
        },
    }
    schema = {
        "type": "object",
        "required": ["spec"],
        "properties": {"spec": spec, "status": status},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"probes.{group}", "labels": {RUN_LABEL: run}},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": "Probe", "listKind": "ProbeList", "plural": "probes", "singular": "probe"},
            "versions": [
                {
                    "name": "v1alpha1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                }
            ],
        },
    }


class Probes:
    """Makes objects of an installed probe definition."""

    def __init__(self, crd: Object) -> None:
        self.group = str(crd["spec"]["group"])
        self.kind = f"Probe.{self.group}"  # as the client's reading methods want it

    def make(
        self, name: str, namespace: str, *, resource_version: str = "", uid: str = "", **parts: Any
    ) -> Object:
        """A Probe with the top-level `parts` given (`spec`, `status`)."""
        meta = {"name": name, "namespace": namespace, "resourceVersion": resource_version, "uid": uid}
        return {
            "apiVersion": f"{self.group}/v1alpha1",
            "kind": "Probe",
            "metadata": {key: value for key, value in meta.items() if value},
            **parts,
        }

    def valid(self, name: str, namespace: str, **spec: Any) -> Object:
        """A Probe that is accepted, with more fields of its spec."""
        return self.make(name, namespace, spec={"model": {"uri": "hf://org/model@main"}, **spec})
