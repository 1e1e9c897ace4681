"""What the API server's structural schemas and CEL do with resources like ours."""

from __future__ import annotations

from typing import Any

import pytest

from tests.apiserver.probe import IMMUTABLE_MESSAGE, ONE_SOURCE_MESSAGE, Probes, probe_crd
from tests.support.kube import ApiError, Kube


def test_strict_validation_refuses_unknown_fields(kube: Kube, namespace: str, probes: Probes) -> None:
    probe = probes.valid("p", namespace, modle={"uri": "hf://a/b"})

    with pytest.raises(ApiError, match=r'strict decoding error: unknown field "spec.modle"') as refused:
        kube.create(probe)

    assert refused.value.code == 400
    assert kube.find(probes.kind, "p", namespace) is None


def test_without_strict_validation_unknown_fields_are_pruned(
    kube: Kube, namespace: str, probes: Probes
) -> None:
    created = kube.create(probes.valid("p", namespace, modle=1), strict=False)

    assert "modle" not in created["spec"]


def test_strict_apply_refuses_unknown_fields(kube: Kube, namespace: str, probes: Probes) -> None:
    with pytest.raises(ApiError, match=r"\.spec\.modle: field not declared in schema") as refused:
        kube.apply(probes.valid("p", namespace, modle=1))

    assert refused.value.code == 500  # what server-side apply answers to a field its schema does not have


def test_defaults_are_filled_in(kube: Kube, namespace: str, probes: Probes) -> None:
    created = kube.create(probes.valid("p", namespace, suites=[{"name": "humaneval"}]))

    assert created["spec"]["method"] == "LoRA"
    assert created["spec"]["suspend"] is False
    assert created["spec"]["suites"] == [{"name": "humaneval", "samples": 1}]


@pytest.mark.parametrize(
    "model", [{}, {"uri": "hf://a/b", "fineTune": {"name": "ft"}}], ids=["no source", "two sources"]
)
def test_exactly_one_source(kube: Kube, namespace: str, probes: Probes, model: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as refused:
        kube.create(probes.make("p", namespace, spec={"model": model}))

    assert refused.value.code == 422
    ((field, message),) = refused.value.causes
    assert field == "spec.model"
    assert message.endswith(ONE_SOURCE_MESSAGE)


def test_transition_rule_keeps_a_field_as_it_was(kube: Kube, namespace: str, probes: Probes) -> None:
    kube.create(probes.valid("p", namespace))

    with pytest.raises(ApiError, match=IMMUTABLE_MESSAGE) as refused:
        kube.patch(probes.kind, "p", {"spec": {"model": {"uri": "hf://other/model"}}}, namespace)

    assert refused.value.code == 422
    changed = kube.patch(probes.kind, "p", {"spec": {"suspend": True}}, namespace)
    assert changed["spec"]["suspend"] is True


def test_list_map_refuses_two_items_of_one_key(kube: Kube, namespace: str, probes: Probes) -> None:
    with pytest.raises(ApiError, match=r"spec\.suites\[1\]: Duplicate value") as refused:
        kube.create(probes.valid("p", namespace, suites=[{"name": "a"}, {"name": "a"}]))

    assert refused.value.code == 422


def test_max_length_and_enum(kube: Kube, namespace: str, probes: Probes) -> None:
    with pytest.raises(ApiError) as refused:
        kube.create(
            probes.make("p", namespace, spec={"model": {"fineTune": {"name": "x" * 64}}, "method": "Half"})
        )

    fields = dict(refused.value.causes)
    assert "may not be more than 63" in fields["spec.model.fineTune.name"]
    assert 'supported values: "Full", "LoRA"' in fields["spec.method"]


def test_dry_run_checks_everything_and_writes_nothing(kube: Kube, namespace: str, probes: Probes) -> None:
    assert kube.create(probes.valid("p", namespace), dry_run=True)["metadata"]["uid"]
    assert kube.find(probes.kind, "p", namespace) is None
    with pytest.raises(ApiError, match=ONE_SOURCE_MESSAGE):
        kube.create(probes.make("p", namespace, spec={"model": {}}), dry_run=True)


def test_cel_over_unbounded_lists_is_over_budget(kube: Kube, run_id: str) -> None:
    crd = probe_crd(f"unbounded.run-{run_id}.probe.speechless.dev", run_id, bounded=False)

    with pytest.raises(ApiError, match="estimated rule cost exceeds budget") as refused:
        kube.create(crd, dry_run=True)

    assert refused.value.code == 422
    assert any("spec.suites" in message or "suites" in field for field, message in refused.value.causes)


def test_bounded_cel_is_within_budget(kube: Kube, run_id: str) -> None:
    crd = probe_crd(f"bounded.run-{run_id}.probe.speechless.dev", run_id)

    assert kube.create(crd, dry_run=True)["metadata"]["name"] == crd["metadata"]["name"]
