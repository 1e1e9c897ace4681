"""What the operator applied, read from what it made: the floor applies the very same."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.operator.api import Api, Object, collection

MANAGER = "speechless-operator"


def applied(obj: Object, subresource: str = "") -> Object:
    """The part of an object that the operator owns by server-side apply (`metadata.managedFields`).

    See https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management.
    """
    entries = [
        entry["fieldsV1"]
        for entry in obj["metadata"].get("managedFields", [])
        if entry["manager"] == MANAGER
        and entry["operation"] == "Apply"
        and entry.get("subresource", "") == subresource
    ]
    if len(entries) != 1:
        raise LookupError(f"{obj['metadata']['name']}: {len(entries)} entries of {MANAGER} in managedFields")
    part: Object = _select(obj, entries[0])
    meta = {"name": obj["metadata"]["name"], "namespace": obj["metadata"]["namespace"]}
    return part | {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "metadata": part.get("metadata", {}) | meta,
    }


def _select(value: Any, fields: Object) -> Any:
    below = {key: inner for key, inner in fields.items() if key != "."}
    if not below:
        return value
    if isinstance(value, list):
        kept = []
        for key, inner in below.items():
            kind, _, text = key.partition(":")
            wanted = json.loads(text)
            for item in value:
                same = item == wanted if kind == "v" else wanted.items() <= item.items()
                if same:
                    kept.append(_select(item, inner) if kind == "k" else item)
        return kept
    return {
        name: _select(value[name], inner)
        for name, inner in ((key.removeprefix("f:"), inner) for key, inner in below.items())
        if name in value
    }


async def of(api: Api, namespace: str, owner: Object, running: Object) -> Object:
    """Templates of a FineTune's ConfigMap, Job and statuses, with what to put in the place of its name and uid.

    Args:
        api: Where its children are read.
        namespace: Where it is.
        owner: The FineTune as its first status made it.
        running: The FineTune as the status made it that first said that it runs.
    """
    name = owner["metadata"]["name"]
    made: dict[str, Object] = {}
    for plural in ("configmaps", "jobs"):
        kind, version = {"configmaps": ("ConfigMap", "v1"), "jobs": ("Job", "batch/v1")}[plural]
        async for item in api.items(collection(namespace, plural)):
            references = item["metadata"].get("ownerReferences", [])
            if any(each["uid"] == owner["metadata"]["uid"] for each in references):
                made[plural] = applied(item | {"kind": kind, "apiVersion": version})
    if set(made) != {"configmaps", "jobs"}:
        raise LookupError(f"of FineTune {name} there are {sorted(made)} only")
    return {
        "name": name,
        "uid": owner["metadata"]["uid"],
        "children": made,
        "status": applied(owner, "status"),
        "running": applied(running, "status"),
    }
