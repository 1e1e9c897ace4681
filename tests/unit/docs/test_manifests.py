"""The manifests on the pages: YAML that parses, and resources of ours with fields that exist."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from speechless_operator.api.kinds import API_VERSION, KINDS
from tests.unit.docs.pages import blocks, manifests, names, page


def unknown(given: Any, model: Any, path: str = "") -> list[str]:
    """The fields of a resource's part that its model does not have."""
    if isinstance(model, list | tuple):
        pairs = zip(given, model, strict=True)
        return [name for one, made in pairs for name in unknown(one, made, path)]
    if not isinstance(model, BaseModel):
        return []
    fields = {field.alias or name: name for name, field in type(model).model_fields.items()}
    found = [f"{path}{name}" for name in given if name not in fields]
    for name in given.keys() & fields.keys():
        found += unknown(given[name], getattr(model, fields[name]), f"{path}{name}.")
    return found


def problems(resource: dict[str, Any]) -> list[str]:
    """What is wrong with a resource of ours; what is no field of it is ignored when it is read, so it is looked for."""
    spec = KINDS[resource["kind"]].spec.model_validate(resource["spec"])
    return sorted(unknown(resource["spec"], spec))


@pytest.mark.parametrize("name", names())
def test_blocks_of_yaml_parse(name: str) -> None:
    for block in blocks(page(name), "yaml"):
        list(yaml.safe_load_all(block))


@pytest.mark.parametrize("name", names())
def test_resources_have_the_fields_of_their_kind(name: str) -> None:
    for found in manifests(page(name)):
        if found["apiVersion"] == API_VERSION:
            assert problems(found) == [], found["metadata"]["name"]


def test_a_field_that_is_none_is_caught() -> None:
    spec = {"model": {"uri": "pvc://a/b"}, "dataset": {"uri": "pvc://a/c", "formt": "Auto"}, "epochs": 3}
    assert problems({"kind": "FineTune", "spec": spec}) == ["dataset.formt", "epochs"]
