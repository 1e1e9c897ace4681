"""The Service of an InferenceService: it selects one revision."""

from __future__ import annotations

from speechless_operator.desired.deployment import PORT
from speechless_operator.desired.objects import LABEL_NAME, LABEL_REVISION, LABEL_UID, Object, Owner


def service(owner: Owner, revision: str) -> Object:
    """A Service with the resource's own name."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": owner.metadata(owner.name),
        "spec": {
            "type": "ClusterIP",
            "selector": {LABEL_NAME: owner.name, LABEL_UID: owner.uid, LABEL_REVISION: revision},
            "ports": [{"name": "http", "port": 80, "targetPort": PORT, "protocol": "TCP"}],
        },
    }


def selected_revision(found: Object) -> str:
    """The revision that a Service selects."""
    return str(found["spec"].get("selector", {}).get(LABEL_REVISION, ""))


def url(owner: Owner) -> str:
    """Where clients inside the cluster ask: the base of the OpenAI-compatible routes.

    Without the cluster's domain, which the operator cannot know; every pod's resolver adds it.
    """
    return f"http://{owner.name}.{owner.namespace}.svc/v1"
