"""Every objective before a real API server: what goes with it is accepted, what does not is refused."""

from __future__ import annotations

from typing import Any

import pytest

from speechless.contract import DatasetFormat, Method, Objective
from speechless.contract.objectives import OBJECTIVES, ObjectiveKind, objective_rules
from speechless.contract.training import CONFLICTS, Conflict
from tests.apiserver.operator import resources
from tests.support.conflicts import BREAKS
from tests.support.kube import ApiError, Kube, Object

pytestmark = pytest.mark.usefixtures("crds")
ROWS = list(OBJECTIVES.values())


def fine_tune(namespace: str, row: ObjectiveKind, **more: Any) -> Object:
    """A FineTune with an objective, rows that it learns from, and its options if it has any."""
    rows = {"uri": "pvc://models/rows.jsonl", "format": row.formats[0].value}
    told: dict[str, Any] = {"objective": row.name.value, "dataset": rows}
    if row.settings:
        told[row.options] = row.settings().model_dump(mode="json", by_alias=True)
    return resources.fine_tune("x", namespace, **(told | more))


def refusals() -> dict[str, tuple[ObjectiveKind, dict[str, Any]]]:
    """Each rule of the table with what breaks it, by its message."""
    found: dict[str, tuple[ObjectiveKind, dict[str, Any]]] = {}
    for row in ROWS:
        other = next(form for form in DatasetFormat if form not in (DatasetFormat.AUTO, *row.formats))
        rows = {"uri": "pvc://models/rows.jsonl", "format": other.value}
        found[f"not what objective {row.name} learns from"] = row, {"dataset": rows}
        if row.options:
            another = next(each for each in ROWS if each is not row)
            found[f"{row.options} goes with objective {row.name}"] = another, {row.options: {}}
        if row.least_batch > 1:
            batch = {"perDeviceTrainBatchSize": row.least_batch - 1}
            found[f"objective {row.name} compares the rows of a batch"] = row, {"hyperparameters": batch}
        if row.new_weights and row.settings:
            option = row.settings.model_fields[row.new_weights].alias
            options = {row.options: {option: True}, "method": "LoRA"}
            found[f"{option} goes with method Full"] = row, options
    return found


@pytest.mark.parametrize("objective", Objective)
@pytest.mark.parametrize("method", Method)
def test_an_objective_is_accepted_with_its_rows_and_options(
    kube: Kube, namespace: str, objective: Objective, method: Method
) -> None:
    row = OBJECTIVES[objective]
    obj = fine_tune(namespace, row, method=method.value)
    created = kube.create(obj)
    assert created["spec"]["objective"] == objective
    if row.options:
        assert created["spec"][row.options] == obj["spec"][row.options]


@pytest.mark.parametrize("said", refusals())
def test_what_does_not_go_together_is_refused(kube: Kube, namespace: str, said: str) -> None:
    row, more = refusals()[said]
    with pytest.raises(ApiError) as refused:
        kube.create(fine_tune(namespace, row, **more), dry_run=True)
    assert said in str(refused.value)


@pytest.mark.parametrize("conflict", CONFLICTS, ids=lambda one: one.field)
def test_settings_that_do_not_go_together_are_refused(kube: Kube, namespace: str, conflict: Conflict) -> None:
    with pytest.raises(ApiError) as refused:
        kube.create(resources.fine_tune("x", namespace, **BREAKS[conflict.field]), dry_run=True)
    assert conflict.message in str(refused.value)


def test_every_rule_is_tried_here() -> None:
    untried = [
        rule.message for rule in objective_rules() if not any(said in rule.message for said in refusals())
    ]
    assert untried == []
