"""The page on trackers before a real API server: its resources are taken as they stand."""

from __future__ import annotations

from typing import Any

import pytest

from speechless_operator.api.kinds import API_VERSION
from tests.apiserver.operator import resources
from tests.support.kube import ApiError, Kube
from tests.unit.docs.pages import manifests, page

pytestmark = pytest.mark.usefixtures("crds")
PAGE = [found for found in manifests(page("howto/trackers.md")) if found.get("apiVersion") == API_VERSION]


@pytest.mark.parametrize("found", PAGE, ids=lambda found: found["metadata"]["name"])
def test_the_resources_of_the_page_are_taken(kube: Kube, namespace: str, found: dict[str, Any]) -> None:
    asked = found | {"metadata": found["metadata"] | {"namespace": namespace}}
    made = kube.create(asked, dry_run=True)
    assert made["spec"]["tracking"] == found["spec"]["tracking"]
    assert made["spec"]["pod"]["env"] == found["spec"]["pod"]["env"]


def test_the_page_has_both_ways() -> None:
    named = {name for found in PAGE for name in found["spec"]["tracking"]["reportTo"]}
    assert named == {"TensorBoard", "MLflow", "WandB"}


@pytest.mark.parametrize("name", ["../up", "a/../b", "/a", "a/"])
def test_a_name_is_no_way_out_of_a_folder(kube: Kube, namespace: str, name: str) -> None:
    tracking = {"reportTo": ["TensorBoard"], "runName": name}
    with pytest.raises(ApiError, match="runName"):
        kube.create(resources.fine_tune("x", namespace, tracking=tracking), dry_run=True)
