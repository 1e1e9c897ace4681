"""Names made from test ids, and objects without secrets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.support.artifacts import folder_name, redacted
from tests.support.namespaces import prefix


@given(st.text(max_size=200))
def test_a_namespace_prefix_is_a_label(name: str) -> None:
    made = prefix(name)

    # The API server adds five characters of its own, and takes 63.
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*)", made)
    assert len(made) <= 58


def test_a_folder_is_named_after_its_test() -> None:
    assert (
        folder_name(Path("/a/test_pods.py"), "tests/e2e/test_pods.py::TestIt::test_a[x/y z]")
        == "test_pods.TestIt.test_a-x-y-z"
    )


@given(st.text(max_size=400))
def test_a_folder_name_is_safe(test_id: str) -> None:
    name = folder_name(Path("test_a.py"), f"tests/unit/test_a.py::test_b[{test_id}]")

    assert re.fullmatch(r"[A-Za-z0-9._-]+", name)
    assert name not in {".", ".."}
    assert len(name) <= 150


def test_a_secret_is_written_without_its_values() -> None:
    secret: dict[str, Any] = {
        "kind": "Secret",
        "metadata": {"name": "s", "managedFields": [1], "annotations": {"last-applied": "hunter2"}},
        "data": {"password": "aHVudGVyMg=="},
    }

    clean = redacted(secret)

    assert clean["data"] == {"password": "<12 base64 characters>"}
    assert clean["metadata"] == {"name": "s"}
    assert secret["metadata"]["managedFields"], "the object itself is not changed"
