"""The demo on a cluster that is there: what it looks at before it makes anything."""

from typing import Any

import pytest

from demo.__main__ import MANIFESTS, objects
from demo.tools import DEFAULT_CLASS, without_class

PLAIN: dict[str, Any] = {"metadata": {"name": "slow"}}
DEFAULT: dict[str, Any] = {"metadata": {"name": "fast", "annotations": {DEFAULT_CLASS: "true"}}}


@pytest.mark.parametrize(
    ("classes", "waiting"),
    [([], ["speechless-artifacts"]), ([PLAIN], ["speechless-artifacts"]), ([PLAIN, DEFAULT], [])],
)
def test_a_claim_without_a_class_needs_a_default_one(classes: list[Any], waiting: list[str]) -> None:
    assert without_class(objects(MANIFESTS), classes) == waiting


def test_a_claim_that_names_its_class_needs_none() -> None:
    found = objects(MANIFESTS)
    for obj in found:
        if obj["kind"] == "PersistentVolumeClaim":
            obj["spec"]["storageClassName"] = "slow"
    assert without_class(found, [PLAIN]) == []
