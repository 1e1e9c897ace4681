"""What is left of a run's progress when it has ended."""

from __future__ import annotations

import pytest

from tests.unit.operator.make import a_finetune
from tests.unit.operator.world import World


@pytest.fixture
def world() -> World:
    return World()


def test_the_progress_of_a_run_that_failed_stays_where_it_was_and_promises_nothing(world: World) -> None:
    world.put(a_finetune().obj())
    world.settle()
    world.run(world.pod_of(world.get("Job", world.status("FineTune", "tuned")["job"])))
    world.settle()
    said = {"phase": "Working", "step": 40, "totalSteps": 100, "percent": 40, "remainingSeconds": 60,
            "message": "training", "summary": "40% 40/100, 1m left"}  # fmt: skip
    obj = world.get("FineTune", "tuned")
    obj["status"] |= {"progress": said}

    world.fail("FineTune", "tuned")

    assert world.status("FineTune", "tuned")["phase"] == "Failed"
    told = world.status("FineTune", "tuned")["progress"]
    assert told == {
        "phase": "Working", "step": 40, "totalSteps": 100, "percent": 40, "summary": "40% 40/100",
    }  # fmt: skip
