"""Small pure functions, and the examples in their docstrings."""

from __future__ import annotations

import doctest
from types import ModuleType

import pytest

from speechless_operator.desired import ceilings, children, inputs, mounts, objects
from speechless_operator.desired.inputs import Input, Run
from speechless_operator.desired.mounts import Mounts
from speechless_operator.plan import accept, conditions, drift, gates, kinds


@pytest.mark.parametrize(
    "module",
    [accept, ceilings, children, conditions, drift, gates, inputs, mounts, objects],
    ids=lambda m: m.__name__,
)
def test_the_examples_in_the_docstrings_hold(module: ModuleType) -> None:
    assert doctest.testmod(module).failed == 0


def test_a_claim_or_secret_that_is_named_twice_is_mounted_once() -> None:
    made = Mounts.of(
        Run(
            (
                Input("model", "pvc://a/x", secret="hub"),
                Input("d", "pvc://b/y"),
                Input("e", "file:///z", secret="hub"),
            ),
            "pvc://a/out",
            output_secret="bucket",
        )
    )
    assert made.folders == {"a": "/mnt/pvc/a", "b": "/mnt/pvc/b"}
    assert made.volume_mounts() == [
        {"name": "claim-0", "mountPath": "/mnt/pvc/a"},
        {"name": "claim-1", "mountPath": "/mnt/pvc/b", "readOnly": True},
        {"name": "secretref-0", "mountPath": "/mnt/secrets/bucket", "readOnly": True},
        {"name": "secretref-1", "mountPath": "/mnt/secrets/hub", "readOnly": True},
    ]
    assert made.secret_folders == {"bucket": "/mnt/secrets/bucket", "hub": "/mnt/secrets/hub"}


def test_an_image_that_is_named_twice_is_mounted_once() -> None:
    made = Mounts.of(
        Run(
            (
                Input("model", "image://registry:5000/team/coder:v1/models/tiny.gguf"),
                Input("d", "image://registry:5000/team/coder:v1/rows"),
                Input("e", "image://registry/rows@sha256:" + "0" * 64),
            )
        )
    )
    digest = "registry/rows@sha256:" + "0" * 64
    assert made.folders == {digest: "/mnt/images/0", "registry:5000/team/coder:v1": "/mnt/images/1"}
    assert made.volumes() == [
        {"name": "image-0", "image": {"reference": digest}},
        {"name": "image-1", "image": {"reference": "registry:5000/team/coder:v1"}},
    ]
    assert made.volume_mounts() == [
        {"name": "image-0", "mountPath": "/mnt/images/0", "readOnly": True},
        {"name": "image-1", "mountPath": "/mnt/images/1", "readOnly": True},
    ]


def test_references_of_broken_specs_are_none() -> None:
    for spec in (
        None,
        [],
        "x",
        {"model": 1},
        {"model": {"fineTune": 3}},
        {"gate": []},
        {"gate": {"evaluations": [1]}},
    ):
        assert kinds.references({"spec": spec}) == frozenset()


@pytest.mark.parametrize(
    ("observed", "wanted", "same"),
    [
        ({"a": 1}, {"a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ({}, {"a": {}}, True),
        ({}, {"a": "x"}, False),
        ({"l": [1, 2]}, {"l": [1]}, False),
        ({"l": [{"name": "b"}, {"name": "a", "v": 1}]}, {"l": [{"name": "a", "v": 1}]}, True),
        ({"l": [{"name": "b"}]}, {"l": [{"name": "a"}]}, False),
        ({"limits": {"cpu": "500m"}}, {"limits": {"cpu": 0.5}}, True),
        ({"limits": {"memory": "1Gi"}}, {"limits": {"memory": "1G"}}, False),
        ({"limits": {}}, {"limits": {"cpu": 1}}, False),
        (None, {"a": 1}, False),
    ],
)
def test_drift_is_what_was_wanted_and_is_not(observed: object, wanted: object, same: bool) -> None:
    assert drift.covers(observed, wanted) is same


def test_a_log_is_cut_to_lines_and_bytes() -> None:
    assert len(accept.log_tail("ü" * 5000).encode()) <= 2048
    assert accept.log_tail("\n".join("abc")) == "a\nb\nc"


def test_a_child_name_fits_a_label() -> None:
    from speechless_operator.api.common import MAX_NAME
    from speechless_operator.api.kinds import KINDS
    from speechless_operator.plan.run import DIGITS, job_name

    for kind in KINDS:
        owner = objects.Owner(kind, "demo", "x" * MAX_NAME, "uid", 1)
        first, last = (job_name(owner, Run((), None, "a" * DIGITS, attempt=number)) for number in (1, 101))
        assert first.startswith(owner.name), "it is not cut"
        assert last.startswith(owner.name)
        assert len(first + "-999999") <= 63, "the host name of an Indexed Job's pod"
        assert len(last + "-99") <= 63
