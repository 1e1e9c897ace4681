"""The table of objectives: what a row says, and what follows from it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from speechless.contract import DatasetFormat, Dpo, FineTuneSettings, Objective, decisive, parse_spec
from speechless.contract.objectives import OBJECTIVES, objective_rules
from speechless.finetune.recipes import RECIPES

SPEC = {
    "stage": "finetune",
    "output": "pvc://a/b",
    "model": {"uri": "pvc://a/m"},
    "dataset": {"uri": "pvc://a/d"},
}


def spec(**more: Any) -> Any:
    return parse_spec(json.dumps(SPEC | more))


def test_every_name_has_a_row_and_a_recipe() -> None:
    assert list(OBJECTIVES) == list(Objective) == list(RECIPES)
    for row in OBJECTIVES.values():
        assert row.learning_rate.whole < row.learning_rate.adapters
        assert row.formats
        assert bool(row.options) == (row.settings is not None)
        assert RECIPES[row.name].taken, "a message names what it learns from"
        if row.options:
            assert FineTuneSettings.model_fields[row.options].default is None


@pytest.mark.parametrize("form", [form for form in DatasetFormat if form is not DatasetFormat.AUTO])
@pytest.mark.parametrize("objective", Objective)
def test_rows_must_be_what_the_objective_learns_from(objective: Objective, form: DatasetFormat) -> None:
    told = {"objective": objective.value, "dataset": {"uri": "pvc://a/d", "format": form.value}}
    if form in OBJECTIVES[objective].formats:
        assert spec(**told).dataset.format is form
        return
    with pytest.raises(
        ValueError, match=f"rows of format {form} are not what objective {objective} learns from"
    ):
        spec(**told)


def test_options_go_with_their_objective() -> None:
    assert spec(objective="DPO", dpo={"beta": 0.5}).dpo == Dpo(beta=0.5)
    with pytest.raises(ValueError, match="dpo goes with objective DPO"):
        spec(dpo={"beta": 0.5})


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (
            {"objective": "KTO", "hyperparameters": {"perDeviceTrainBatchSize": 1}},
            "perDeviceTrainBatchSize is 1, and objective KTO compares the rows of a batch: take 2 or more",
        ),
        (
            {"objective": "Pretrain", "pretrain": {"fromScratch": True}},
            "pretrain.fromScratch goes with method Full: there is nothing to adapt",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_with_both_names(told: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        spec(**told)
    assert spec(objective="Pretrain", pretrain={"fromScratch": True}, method="Full").pretrain.from_scratch


def test_what_is_not_said_changes_no_run() -> None:
    """An artifact is found again by what decides it: a new option has no say where it is not set."""
    told = decisive(spec())
    assert "dpo" not in told
    assert "objective" not in told
    assert decisive(spec(objective="DPO"))["objective"] == "DPO"


def test_each_rule_is_about_one_field() -> None:
    batch = ".hyperparameters.perDeviceTrainBatchSize"
    fields = {".dataset.format", batch, *(f".{row.options}" for row in OBJECTIVES.values() if row.options)}
    assert {rule.field_path for rule in objective_rules()} == fields
