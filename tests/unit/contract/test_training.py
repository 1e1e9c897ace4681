"""Settings that do not go together, as a stage's spec."""

import json

import pytest

from speechless.contract import parse_spec
from speechless.contract.training import CONFLICTS
from tests.support.conflicts import BREAKS
from tests.unit.contract.test_objectives import SPEC


def test_every_conflict_is_tried() -> None:
    assert [one.field for one in CONFLICTS] == list(BREAKS)


@pytest.mark.parametrize("conflict", CONFLICTS, ids=lambda one: one.field)
def test_what_does_not_go_together_is_refused(conflict: object) -> None:
    (one,) = (each for each in CONFLICTS if each is conflict)
    with pytest.raises(ValueError, match=one.field.rpartition(".")[2]) as refused:
        parse_spec(json.dumps(SPEC | BREAKS[one.field]))
    assert one.message in str(refused.value)
