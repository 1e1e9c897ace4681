"""The pod of a stage: what a user and an administrator say reaches it; nothing is lost, doubled or expanded."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechless.contract import StageName
from speechless_operator.api.pod import OUR_KEYS, PodSettings
from speechless_operator.api.volumes import OUR_VOLUMES
from speechless_operator.desired.inputs import Input, Run
from speechless_operator.desired.mounts import Mounts
from speechless_operator.desired.objects import Owner
from speechless_operator.desired.pod import stage_pod, template_metadata
from speechless_operator.desired.settings import PodDefaults
from speechless_operator.plan.drift import covers

OWNER = Owner("FineTune", "demo", "tuned", "u", 1)


def pod(settings: dict[str, Any] | None = None, defaults: dict[str, Any] | None = None) -> Any:
    """The pod spec."""
    return stage_pod(
        StageName.FINETUNE,
        image="registry.example/train:1",
        config_map="tuned",
        mounts=Mounts.of(Run((Input("model", "pvc://models/base"),), "pvc://out/here")),
        settings=PodSettings.model_validate(settings or {}),
        defaults=PodDefaults.model_validate(defaults or {}),
        grace_seconds=30,
    )


def env(settings: dict[str, Any] | None = None, defaults: dict[str, Any] | None = None) -> dict[str, Any]:
    """The container's variables; each is there once."""
    listed = pod(settings, defaults)["containers"][0]["env"]
    found = {entry["name"]: entry for entry in listed}
    assert len(found) == len(listed), "a variable is there twice: server-side apply refuses that"
    return found


# ------------------------------------------------------------------------------------------------------- environment


def test_a_users_variable_wins_over_the_administrators_and_that_over_ours() -> None:
    assert env()["HOME"]["value"] == "/tmp"
    assert env(defaults={"env": [{"name": "HOME", "value": "/b"}]})["HOME"]["value"] == "/b"
    both = env({"env": [{"name": "HOME", "value": "/a"}]}, {"env": [{"name": "HOME", "value": "/b"}]})
    assert both["HOME"]["value"] == "/a"
    secret = {"secretKeyRef": {"name": "s", "key": "k"}}
    assert env({"env": [{"name": "HOME", "valueFrom": secret}]})["HOME"] == {
        "name": "HOME",
        "valueFrom": secret,
    }


def expand(text: str, variables: dict[str, str]) -> str:
    """What the kubelet makes of a value: Expand of Kubernetes' third_party/forked/golang/expansion, byte by byte."""
    given_, made, cursor, checkpoint = text.encode(), b"", 0, 0
    while cursor < len(given_):
        if given_[cursor : cursor + 1] == b"$" and cursor + 1 < len(given_):
            made += given_[checkpoint:cursor]
            rest = given_[cursor + 1 :]
            closer = rest.find(b")", 1) if rest[:1] == b"(" else -1
            if closer > 0:
                name = rest[1:closer].decode()
                # MappingFuncFor: an unknown variable stays as a reference.
                made += variables.get(name, f"$({name})").encode()
                cursor += closer + 1
            else:
                # `$$` is a dollar; otherwise the dollar and the *byte* after it, turned into a character.
                made += b"$" if rest[:1] == b"$" else b"$" + chr(rest[0]).encode()
                cursor += 1
            checkpoint = cursor + 1
        cursor += 1
    return (made + given_[checkpoint:]).decode()


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        # The cases of expand_test.go.
        ("$(VAR_A)", "A"), ("$(VAR_A", "$(VAR_A"), ("___$(VAR_B)___", "___B___"), ("$($(VAR_B))", "$($(VAR_B))"),
        ("f000-$$VAR_A", "f000-$VAR_A"), ("foo\\$(VAR_C)bar", "foo\\Cbar"), ("$$(VAR_A)", "$(VAR_A)"),
        ("$$$(VAR_A)", "$A"), ("$VAR_A", "$VAR_A"), ("$?_boo", "$?_boo"), ("$$$$$$(BIG_MONEY)", "$$$(BIG_MONEY)"),
        ("$", "$"), ("", ""), ("$$", "$"), ("$(VAR_A)$", "A$"), ("$()", "$()"),
    ],
)  # fmt: skip
def test_the_kubelet_is_played_as_it_is(text: str, expanded: str) -> None:
    assert expand(text, {"VAR_A": "A", "VAR_B": "B", "VAR_C": "C"}) == expanded


@given(
    st.lists(st.sampled_from(["$", "(", ")", "HOME", "a", "é", "\U0001f600", " "]), max_size=12)
    .map("".join)
    .filter(bool)
)
def test_a_value_reaches_the_container_as_it_stands(text: str) -> None:
    rendered = env({"env": [{"name": "A", "value": text}]})["A"]["value"]
    assert expand(rendered, {"HOME": "/tmp", "": "nothing"}) == text


def test_an_empty_value_stays_empty() -> None:
    assert env({"env": [{"name": "A", "value": ""}]})["A"] == {"name": "A", "value": ""}


# ----------------------------------------------------------------------------------------------- volumes and envFrom


def test_volumes_mounts_and_env_from_are_as_they_were_written() -> None:
    volumes = [
        {"name": "a", "configMap": {"name": "c", "items": [{"key": "k", "path": "p", "mode": 256}]}},
        {"name": "b", "secret": {"secretName": "s", "defaultMode": 0, "optional": True}},
        {"name": "c", "persistentVolumeClaim": {"claimName": "claim", "readOnly": True}},
        {"name": "d", "emptyDir": {}},
        {"name": "e", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
    ]
    mounts = [
        {"name": "a", "mountPath": "/a", "readOnly": True},
        {"name": "c", "mountPath": "/c", "subPath": "x/y"},
    ]
    sources = [
        {"configMapRef": {"name": "c"}, "prefix": "C_"},
        {"secretRef": {"name": "s", "optional": True}},
    ]

    made = pod({"volumes": volumes, "volumeMounts": mounts, "envFrom": sources})

    assert made["volumes"][-5:] == volumes
    assert made["containers"][0]["volumeMounts"][-2:] == mounts
    assert made["containers"][0]["envFrom"] == sources
    assert "envFrom" not in pod()["containers"][0]


def test_a_volume_that_is_mounted_twice_is_no_drift() -> None:
    mounts = [{"name": "a", "mountPath": "/x"}, {"name": "a", "mountPath": "/y", "subPath": "z"}]
    wanted = pod({"volumes": [{"name": "a", "emptyDir": {}}], "volumeMounts": mounts})
    found = copy.deepcopy(wanted)
    found["containers"][0]["volumeMounts"].insert(0, {"name": "mesh", "mountPath": "/mesh"})
    assert covers(found, wanted)
    found["containers"][0]["volumeMounts"][-1]["subPath"] = "other"
    assert not covers(found, wanted)


def test_no_volume_of_ours_can_be_taken() -> None:
    ours = {volume["name"] for volume in pod()["volumes"]}
    assert {name for name in ours if not name.startswith("claim-")} == set(OUR_VOLUMES)


# ------------------------------------------------------------------------------------------------ labels, annotations


def test_labels_of_the_owner_win_over_the_users_and_those_over_the_administrators() -> None:
    settings = PodSettings(labels={"team": "a", "app.kubernetes.io/name": "mine"}, annotations={"x": "user"})
    defaults = PodDefaults(labels={"team": "b", "cost": "1"}, annotations={"x": "admin", "y": "admin"})
    made = template_metadata(OWNER.labels, settings, defaults)
    assert made["labels"] == OWNER.labels | {"team": "a", "cost": "1"}
    assert made["annotations"] == {"x": "user", "y": "admin"}


def test_without_anybodys_wish_the_metadata_is_the_owners_labels() -> None:
    assert template_metadata(OWNER.labels, PodSettings(), PodDefaults()) == {"labels": OWNER.labels}


def test_every_label_of_ours_is_refused_in_a_spec() -> None:
    others = [key for key in OWNER.labels if not key.startswith("speechless.dev/")]
    assert set(others) <= set(OUR_KEYS)


# -------------------------------------------------------------------------------------------------------- placement


def test_placement() -> None:
    affinity = {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "gpu", "operator": "In", "values": ["h100"]}]}
                ]
            }
        },
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 5,
                    "podAffinityTerm": {
                        "topologyKey": "kubernetes.io/hostname",
                        "labelSelector": {"matchLabels": {"a": "b"}},
                    },
                }
            ]
        },
    }
    made = pod(
        {"affinity": affinity, "schedulerName": "gang", "nodeSelector": {"zone": "a"}, "priorityClassName": "high",
         "tolerations": [{"key": "gpu", "operator": "Exists"}], "imagePullSecrets": [{"name": "mine"}]},
        {"nodeSelector": {"zone": "b", "pool": "ml"}, "priorityClassName": "low", "runtimeClassName": "gvisor",
         "tolerations": [{"key": "gpu", "operator": "Exists"}, {"key": "ml", "operator": "Exists"}],
         "imagePullSecrets": [{"name": "everyones"}, {"name": "mine"}]},
    )  # fmt: skip
    assert made["affinity"] == affinity
    assert made["schedulerName"] == "gang"
    assert made["nodeSelector"] == {"zone": "a", "pool": "ml"}
    assert made["priorityClassName"] == "high"
    assert made["runtimeClassName"] == "gvisor"
    assert made["tolerations"] == [
        {"key": "gpu", "operator": "Exists"},
        {"key": "ml", "operator": "Exists"},
    ]
    assert made["imagePullSecrets"] == [{"name": "everyones"}, {"name": "mine"}]


def test_the_pull_policy_is_the_administrators() -> None:
    assert pod()["containers"][0]["imagePullPolicy"] == "IfNotPresent"
    assert pod(defaults={"imagePullPolicy": "Always"})["containers"][0]["imagePullPolicy"] == "Always"


def test_a_user_of_the_clusters_choice() -> None:
    fixed = pod()["securityContext"]
    assert {fixed["runAsUser"], fixed["runAsGroup"], fixed["fsGroup"]} == {65532}
    assert "USER" not in env()

    free = pod(defaults={"uid": None})

    assert free["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert env(defaults={"uid": None})["USER"]["value"] == "speechless"
