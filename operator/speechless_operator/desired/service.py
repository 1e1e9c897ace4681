"""The Services of an InferenceService: a stable one that selects what serves, and one a revision beside it."""

from __future__ import annotations

from speechless_operator.desired.objects import LABEL_NAME, LABEL_REVISION, LABEL_UID, Object, Owner


def stable(owner: Owner, revision: str, port: int) -> Object:
    """The Service with the resource's own name: clients ask there, whichever revision serves."""
    return _service(owner, owner.name, revision, port, {})


def of_revision(owner: Owner, name: str, revision: str, port: int) -> Object:
    """The Service of one revision: for looking at it before it serves, and for a route's weights."""
    return _service(owner, name, revision, port, {LABEL_REVISION: revision})


def _service(owner: Owner, name: str, revision: str, port: int, labels: dict[str, str]) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": owner.metadata(name, labels=labels),
        "spec": {
            "type": "ClusterIP",
            "selector": selector(owner, revision),
            "ports": [{"name": "http", "port": 80, "targetPort": port, "protocol": "TCP"}],
        },
    }


def selector(owner: Owner, revision: str) -> dict[str, str]:
    """The labels of a revision's pods."""
    return {LABEL_NAME: owner.name, LABEL_UID: owner.uid, LABEL_REVISION: revision}


def selected_revision(found: Object) -> str:
    """The revision that a Service selects."""
    return str(((found.get("spec") or {}).get("selector") or {}).get(LABEL_REVISION, ""))


def url(owner: Owner) -> str:
    """Where clients inside the cluster ask: the base of the OpenAI-compatible routes.

    Without the cluster's domain, which the operator cannot know; every pod's resolver adds it.
    """
    return f"http://{owner.name}.{owner.namespace}.svc/v1"
