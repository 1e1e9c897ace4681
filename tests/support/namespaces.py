"""Namespaces of tests: one a test, removed after it, and by the next run where a run was killed."""

from __future__ import annotations

import datetime
import re

from tests.support.kube import ApiError, Kube, Object
from tests.support.wait import wait_for

RUN_LABEL = "speechless.dev/test-run"
TEST_ANNOTATION = "speechless.dev/test"

# On a cluster that others may use, a run is taken for dead after this time.
ABANDONED = datetime.timedelta(hours=2)


def prefix(test_name: str) -> str:
    """The start of a namespace's name that tells which test it belongs to.

    >>> prefix("test_status_is_kept[a B]")
    't-status-is-kept-a-b-'
    """
    words = re.sub(r"[^a-z0-9]+", "-", test_name.lower().removeprefix("test_")).strip("-")
    return f"t-{words[:40].rstrip('-')}-"


def create_namespace(kube: Kube, test_name: str, test_id: str, run: str) -> str:
    """Create a fresh namespace that admits only pods of the `restricted` profile, and return its name."""
    created = kube.create(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "generateName": prefix(test_name),
                "labels": {RUN_LABEL: run, "pod-security.kubernetes.io/enforce": "restricted"},
                "annotations": {TEST_ANNOTATION: test_id},
            },
        }
    )
    name = str(created["metadata"]["name"])
    # Made by a controller a moment later; until then the API server refuses pods.
    wait_for(
        lambda: kube.find("ServiceAccount", "default", name),
        f"the default service account of {name}",
        interval=0.02,
    )
    return name


def sweep(kube: Kube, run: str, *, shared: bool) -> list[str]:
    """Delete what killed runs left: their namespaces and CRDs. On a `shared` cluster only what is old.

    In an instance of the tests' own every webhook is left: nobody answers it any more, and it refuses every object.
    """
    swept = []
    if not shared:
        for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"):
            for obj in kube.list(kind):
                kube.delete(kind, obj["metadata"]["name"], missing_ok=True)
                swept.append(f"{kind}/{obj['metadata']['name']}")
    now = datetime.datetime.now(datetime.UTC)
    for kind in ("CustomResourceDefinition", "Namespace"):
        for obj in kube.list(kind, labels=f"{RUN_LABEL},{RUN_LABEL}!={run}"):
            if shared and now - _created(obj) < ABANDONED:
                continue
            kube.delete(kind, obj["metadata"]["name"], missing_ok=True)
            swept.append(f"{kind}/{obj['metadata']['name']}")
    return swept


def _created(obj: Object) -> datetime.datetime:
    return datetime.datetime.fromisoformat(obj["metadata"]["creationTimestamp"])


def delete_namespace(kube: Kube, name: str) -> None:
    """Begin to delete a namespace; the controllers do the rest while the next test runs."""
    try:
        kube.delete("Namespace", name)
    except ApiError as error:
        # 409: a test that deleted it itself; 404: that deletion is done.
        if error.code not in (404, 409):
            raise
