"""What an administrator forbids: each ceiling alone, and the defaults, which forbid nothing."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from speechless_operator.api.pod import PodSettings
from speechless_operator.desired.ceilings import begins, violations
from speechless_operator.desired.settings import Ceilings, PodDefaults

EVERYTHING: dict[str, Any] = {
    "image": "registry.corp/team/train:1",
    "env": [{"name": "A", "value": "1"}],
    "envFrom": [{"configMapRef": {"name": "more"}}],
    "volumes": [{"name": "data", "emptyDir": {}}],
    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    "serviceAccountName": "trainer",
    "priorityClassName": "high",
    "runtimeClassName": "gvisor",
}
URIS = {"spec.model.uri": "pvc://models/base", "spec.output.uri": "pvc://out/here"}
ARGS = ["--threads", "4", "-b=512", "--n-gpu-layers", "-1"]


def found(**ceilings: Any) -> list[str]:
    """What a resource that asks for everything is told."""
    return violations(PodSettings(**EVERYTHING), URIS, Ceilings(**ceilings), ARGS)


def test_an_image_that_is_mounted_is_held_against_the_same_ceiling() -> None:
    uris = {"spec.model.uri": "image://registry.corp/team/coder:1/models", "spec.dataset.uri": "pvc://a/b"}
    bare = PodSettings()
    assert violations(bare, uris, Ceilings(imagePrefixes=["registry.corp/team"])) == []
    assert violations(bare, uris, Ceilings(imagePrefixes=["registry.corp/other"])) == [
        "spec.model.uri: the image registry.corp/team/coder:1 is not allowed on this cluster: "
        "remove it, or use one below registry.corp/other"
    ]


def test_by_default_nothing_is_forbidden() -> None:
    assert found() == []


@pytest.mark.parametrize(
    ("ceiling", "told"),
    [
        (
            {"imagePrefixes": []},
            ["spec.pod.image: registry.corp/team/train:1 is not allowed on this cluster: remove it"],
        ),
        (
            {"imagePrefixes": ["registry.cor", "other.example/"]},
            [
                "spec.pod.image: registry.corp/team/train:1 is not allowed on this cluster: "
                "remove it, or use one below registry.cor, other.example/"
            ],
        ),
        (
            {"allowEnv": False},
            [
                "spec.pod.env: not allowed on this cluster: remove it",
                "spec.pod.envFrom: not allowed on this cluster: remove it",
            ],
        ),
        ({"allowVolumes": False}, ["spec.pod.volumes: not allowed on this cluster: remove it"]),
        (
            {"serviceAccounts": ["default"]},
            [
                "spec.pod.serviceAccountName: trainer is not allowed on this cluster: "
                "remove it, or use one of default"
            ],
        ),
        (
            {"priorityClasses": ["low", "mid"]},
            [
                "spec.pod.priorityClassName: high is not allowed on this cluster: "
                "remove it, or use one of low, mid"
            ],
        ),
        (
            {"runtimeClasses": []},
            ["spec.pod.runtimeClassName: gvisor is not allowed on this cluster: remove it"],
        ),
        (
            {"uriPrefixes": ["pvc://models"]},
            [
                "spec.output.uri: pvc://out/here is not allowed on this cluster: "
                "remove it, or use an address below pvc://models"
            ],
        ),
        (
            {"engineArgs": ["--threads"]},
            [
                "spec.engineArgs: -b is not allowed on this cluster: remove it, or use one of --threads",
                "spec.engineArgs: --n-gpu-layers is not allowed on this cluster: remove it, or use one of --threads",
            ],
        ),
    ],
)
def test_each_ceiling(ceiling: dict[str, Any], told: list[str]) -> None:
    assert found(**ceiling) == told


def test_every_ceiling_forbids_something() -> None:
    for name, field in Ceilings.model_fields.items():
        closed: Any = False if field.annotation is bool else ()
        assert found(**{name: closed}), f"{name} has no effect"


@pytest.mark.parametrize(
    ("text", "prefix", "expected"),
    [
        ("registry.corp/a", "registry.corp", True),
        ("registry.corp:5000/a", "registry.corp", True),
        ("registry.corp/a@sha256:0", "registry.corp/a", True),
        ("registry.corp/ab", "registry.corp/a", False),
        ("registry.corp.evil/a", "registry.corp", False),
        ("registry.corp/a", "registry.corp/", True),
        ("registry.corp/", "registry.corp/", True),
        ("pvc://models-of-others/x", "pvc://models", False),
        ("pvc://models/x", "pvc://models/x", True),
        ("pvc://models/x", "pvc://models/x/y", False),
    ],
)
def test_a_prefix_ends_where_a_part_ends(text: str, prefix: str, expected: bool) -> None:
    assert begins(text, prefix) is expected


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        (Ceilings, {"imagePrefix": []}, "Extra inputs are not permitted"),
        (PodDefaults, {"uid": 0}, "greater than or equal to 1"),
        (PodDefaults, {"labels": {"speechless.dev/uid": "x"}}, "speechless.dev/uid: set by the operator"),
        (PodDefaults, {"labels": {"job-name": "x"}}, "job-name: set by the operator and by controllers"),
        (PodDefaults, {"annotations": {"batch.kubernetes.io/x": "x"}}, "batch.kubernetes.io/x: set by"),
    ],
)
def test_a_mistake_of_the_administrator_is_told(model: type, data: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        model(**data)
