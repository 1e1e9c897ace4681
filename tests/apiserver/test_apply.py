"""Server-side apply of objects and status: what the operator's design relies on."""

from __future__ import annotations

from typing import Any

import pytest

from tests.apiserver.probe import Probes
from tests.support.kube import ApiError, Kube
from tests.support.wait import wait_gone


def conditions(obj: dict[str, Any]) -> dict[str, str]:
    """Status by type."""
    return {c["type"]: c["status"] for c in obj["status"]["conditions"]}


def status_with(*types: str, status: str = "True") -> dict[str, Any]:
    """A status that holds these conditions."""
    return {"conditions": [{"type": name, "status": status} for name in types]}


def test_two_managers_each_keep_their_conditions(kube: Kube, namespace: str, probes: Probes) -> None:
    kube.create(probes.valid("p", namespace))

    kube.apply_status(probes.make("p", namespace, status=status_with("Ready")), manager="one")
    kube.apply_status(
        probes.make("p", namespace, status=status_with("Passed", status="False")), manager="two"
    )
    kube.apply_status(probes.make("p", namespace, status={"progress": {"percent": 7}}), manager="three")

    seen = kube.get(probes.kind, "p", namespace)
    assert conditions(seen) == {"Ready": "True", "Passed": "False"}
    assert seen["status"]["progress"] == {"percent": 7}

    kube.apply_status(probes.make("p", namespace, status=status_with("Stalled")), manager="one")

    seen = kube.get(probes.kind, "p", namespace)
    assert conditions(seen) == {"Passed": "False", "Stalled": "True"}, (
        "a key left out by its owner is removed"
    )


def test_two_managers_of_one_condition_conflict(kube: Kube, namespace: str, probes: Probes) -> None:
    kube.create(probes.valid("p", namespace))
    kube.apply_status(probes.make("p", namespace, status=status_with("Ready")), manager="one")
    other = probes.make("p", namespace, status=status_with("Ready", status="False"))

    with pytest.raises(ApiError, match='conflict with "one"') as refused:
        kube.apply_status(other, manager="two")

    assert refused.value.code == 409
    assert conditions(kube.apply_status(other, manager="two", force=True)) == {"Ready": "False"}


def test_status_apply_needs_no_spec_and_leaves_it_alone(kube: Kube, namespace: str, probes: Probes) -> None:
    created = kube.create(probes.valid("p", namespace))

    applied = kube.apply_status(probes.make("p", namespace, status={"phase": "Running"}))

    assert applied["spec"] == created["spec"]
    assert applied["metadata"]["generation"] == created["metadata"]["generation"]
    assert applied["status"] == {"phase": "Running"}


def test_status_is_not_written_through_the_object_itself(kube: Kube, namespace: str, probes: Probes) -> None:
    created = kube.create(probes.valid("p", namespace) | {"status": {"phase": "Running"}})

    assert "status" not in created


def test_same_status_again_writes_nothing(kube: Kube, namespace: str, probes: Probes) -> None:
    kube.create(probes.valid("p", namespace))
    body = probes.make("p", namespace, status=status_with("Ready"))

    first, second = kube.apply_status(body), kube.apply_status(body)

    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


def test_status_apply_creates_nothing(kube: Kube, namespace: str, probes: Probes) -> None:
    with pytest.raises(ApiError) as refused:
        kube.apply_status(probes.make("missing", namespace, status={"phase": "Running"}))

    assert refused.value.code == 404


def test_status_apply_does_not_look_at_the_uid(kube: Kube, namespace: str, probes: Probes) -> None:
    """Why the operator must send the resourceVersion, or compare the uid in the answer."""
    old = kube.create(probes.valid("p", namespace))
    kube.delete(probes.kind, "p", namespace)
    wait_gone(kube, probes.kind, "p", namespace)
    new = kube.create(probes.valid("p", namespace))

    body = probes.make("p", namespace, uid=old["metadata"]["uid"], status={"phase": "Stale"})
    applied = kube.apply_status(body)

    assert applied["metadata"]["uid"] == new["metadata"]["uid"] != old["metadata"]["uid"]
    assert applied["status"]["phase"] == "Stale"


def test_status_apply_with_a_stale_resource_version_conflicts(
    kube: Kube, namespace: str, probes: Probes
) -> None:
    stale = kube.create(probes.valid("p", namespace))["metadata"]["resourceVersion"]
    fresh = kube.patch(probes.kind, "p", {"spec": {"suspend": True}}, namespace)["metadata"][
        "resourceVersion"
    ]

    with pytest.raises(ApiError) as refused:
        kube.apply_status(probes.make("p", namespace, resource_version=stale, status={"phase": "Stale"}))

    assert (refused.value.code, refused.value.reason) == (409, "Conflict")
    body = probes.make("p", namespace, resource_version=fresh, status={"phase": "Fresh"})
    assert kube.apply_status(body)["status"]["phase"] == "Fresh"


def test_apply_with_a_uid_never_resurrects(kube: Kube, namespace: str, probes: Probes) -> None:
    old = kube.create(probes.valid("p", namespace))
    body = probes.valid("p", namespace)
    body["metadata"]["uid"] = old["metadata"]["uid"]
    kube.delete(probes.kind, "p", namespace)
    wait_gone(kube, probes.kind, "p", namespace)

    with pytest.raises(ApiError) as refused:
        kube.apply(body)
    assert refused.value.code == 409
    assert kube.find(probes.kind, "p", namespace) is None

    kube.create(probes.valid("p", namespace))
    with pytest.raises(ApiError) as refused:
        kube.apply(body, force=True)
    assert refused.value.code == 422


def test_replace_with_a_stale_resource_version_conflicts(kube: Kube, namespace: str, probes: Probes) -> None:
    stale = kube.create(probes.valid("p", namespace))
    kube.patch(probes.kind, "p", {"spec": {"suspend": True}}, namespace)

    with pytest.raises(ApiError, match="the object has been modified") as refused:
        kube.replace(stale)

    assert refused.value.code == 409


def test_delete_of_another_uid_is_refused(kube: Kube, namespace: str, probes: Probes) -> None:
    kube.create(probes.valid("p", namespace))

    with pytest.raises(ApiError, match="UID in the precondition") as refused:
        kube.delete(probes.kind, "p", namespace, uid="5e1f0000-0000-0000-0000-000000000000")

    assert refused.value.code == 409
    assert kube.get(probes.kind, "p", namespace)
