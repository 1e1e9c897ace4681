"""The CustomResourceDefinition of a kind: its schema and what stands around it."""

from __future__ import annotations

import hashlib
import inspect
import json
from typing import Any

from speechless_operator.api.base import VALIDATIONS
from speechless_operator.api.common import MAX_NAME
from speechless_operator.api.kinds import CATEGORY, GROUP, KINDS, VERSION, Column, Kind
from speechless_operator.crd.schema import structural_schema

Object = dict[str, Any]

SCHEMA_HASH = f"{GROUP}/schema-hash"
"""Annotation of a CRD: which schema it is. The operator compares it with its own at start."""

_NAME_RULES = (
    {
        # Only when it is created: a resource that an earlier version let in can still be updated.
        "rule": f"oldSelf.hasValue() || self.metadata.name.size() <= {MAX_NAME}",
        "optionalOldSelf": True,
        "message": f"metadata.name may have {MAX_NAME} characters at most: longer names are made from it",
    },
    {
        "rule": "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "message": "metadata.name must begin with a letter and have only lower-case letters, digits and hyphens",
    },
)


def all_crds() -> dict[str, Object]:
    """Every definition by its file's name."""
    return {f"{kind.crd_name}.yaml": crd(kind) for kind in KINDS.values()}


def crd(kind: Kind) -> Object:
    """The definition of a kind.

    Raises:
        SchemaError: Its models say something that a CRD cannot.
    """
    made: Object = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": kind.crd_name,
            "labels": {"app.kubernetes.io/part-of": "speechless"},
            "annotations": {},
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.singular,
                "shortNames": [kind.short],
                "categories": [CATEGORY],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": _subresources(kind),
                    "additionalPrinterColumns": [_column(column) for column in kind.columns],
                    "selectableFields": [{"jsonPath": ".status.phase"}],
                    "schema": {"openAPIV3Schema": _schema(kind)},
                }
            ],
        },
    }
    made["metadata"]["annotations"][SCHEMA_HASH] = schema_hash(made)
    return made


def schema_hash(definition: Object) -> str:
    """Sixteen hexadecimal digits of a definition's spec, as this project writes it."""
    text = json.dumps(definition["spec"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _schema(kind: Kind) -> Object:
    module = inspect.getmodule(kind.spec)
    return {
        "type": "object",
        "description": inspect.getdoc(module) or "",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"{GROUP}/{VERSION}"},
            "kind": {"type": "string", "description": kind.name},
            "metadata": {"type": "object"},
            "spec": structural_schema(kind.spec),
            "status": structural_schema(kind.status),
        },
        VALIDATIONS: [dict(rule) for rule in _NAME_RULES],
    }


def _subresources(kind: Kind) -> Object:
    if not kind.scale:
        return {"status": {}}
    return {
        "status": {},
        "scale": {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        },
    }


def _column(column: Column) -> Object:
    made: Object = {"name": column.name, "type": column.type, "jsonPath": column.path}
    return made | {"priority": column.priority} if column.priority else made
