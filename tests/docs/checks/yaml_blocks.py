"""YAML on pages: resources of ours, parts of them, values of the chart."""

from __future__ import annotations

from typing import Any

import yaml

from tests.docs.checks.schemas import (
    GROUP,
    LOADER,
    definitions,
    part_problem,
    resource_problem,
    values_problem,
)

KUSTOMIZE = {
    "resources",
    "namespace",
    "namePrefix",
    "nameSuffix",
    "configurations",
    "patches",
    "nameReference",
}
"""What a kustomization, or its configuration, may begin with; it needs no apiVersion."""
HINT = (
    "a whole resource has apiVersion and kind; a part of one begins at its top (`spec:`); what is neither must be "
    "values of charts/speechless"
)


def problem(text: str) -> str:
    """What is wrong with a block of YAML: the first document that does not fit."""
    try:
        documents = [each for each in yaml.load_all(text, LOADER) if each is not None]
    except yaml.YAMLError as error:
        return f"no YAML: {error}"
    return next((found for each in documents if (found := _document_problem(each))), "")


def _document_problem(document: Any) -> str:
    if not isinstance(document, dict):
        return f"a mapping was expected, not {document!r}; {HINT}"
    group = str(document.get("apiVersion", "")).partition("/")[0]
    if group == GROUP:
        return resource_problem(document)
    if group:
        return "" if document.get("kind") else "it has an apiVersion and no kind"
    if set(document) <= KUSTOMIZE:
        return ""
    if {"spec", "status", "metadata"} & set(document):
        kinds = [each["spec"]["names"]["kind"] for each in definitions()]
        problems = [part_problem(document, kind) for kind in kinds]
        return "" if "" in problems else f"a part of no kind: {_nearest(problems)}; {HINT}"
    found = values_problem(document)
    return f"{found}; {HINT}" if found else ""


def _nearest(problems: list[str]) -> str:
    """The problem that is deepest in the resource: that kind was meant."""
    return max(problems, key=lambda text: text.partition(":")[0].count("."))
