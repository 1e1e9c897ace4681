"""An operator takes over what the other version left: nothing that runs is restarted, nothing that serves goes away."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import pytest

from tests.skew import scenarios
from tests.skew.archive import DATA, run_old
from tests.unit.operator.world import SETTINGS
from tests.unit.skew import views
from tests.unit.skew.views import Object, names, stored

# The next release: its images are others.
UPGRADED = replace(SETTINGS, images={image: f"registry.example/{image}:2" for image in SETTINGS.images})
READY = {
    "serving": "True",
    "serving-the-chain": "True",
    "serving-the-chain-upstream-gone": "True",
    "serving-behind-a-closed-gate": "True",
    "serving-scaled-to-zero": "True",
    "serving-one-rolling-out-another": "True",
    "rolling-out-first": "False",
    "gate-closed-nothing-serves": "False",
}
"""Of InferenceService chat, after today's operator looked."""
PHASES = {
    "waiting": "Waiting",
    "suspended": "Suspended",
    "running": "Running",
    "retrying": "Running",
    "quantizing": "Running",
    "evaluating": "Running",
    "closed-and-not-told": "Succeeded",
    "failed-and-not-told": "Failed",
    "succeeded": "Succeeded",
    "failed": "Failed",
    "quantized": "Succeeded",
    "passed": "Succeeded",
    "gate-failed": "Succeeded",
}
"""Of the newest run, after today's operator looked."""


def taken_over(name: str, *, upgraded: bool = True) -> list[Object]:
    """The stored objects after today's operator settled; what it raises is a defect."""
    found: list[Object] = json.loads(_taken_over(name, upgraded))
    return found


@cache
def _taken_over(name: str, upgraded: bool) -> str:
    world = scenarios.load(stored(name))
    world.settings = UPGRADED if upgraded else SETTINGS
    world.settle()
    return json.dumps(list(world.objects.values()))


@cache
def _by_today() -> dict[str, list[Object]]:
    return scenarios.record()


@cache
def _today_then_old() -> dict[str, list[Object]]:
    return views.settled_by_old(_by_today())


@cache
def _round_trip() -> dict[str, list[Object]]:
    return views.settled_by_old({name: taken_over(name, upgraded=False) for name in names()})


def test_the_data_is_what_that_version_writes() -> None:
    made = run_old(DATA.parent / "scenarios.py", "record")
    assert {name: stored(name) for name in names()} == made


@pytest.mark.parametrize("name", names())
class TestTodayAfterTheVersionBefore:
    def test_no_run_is_started_beside_another_or_again(self, name: str) -> None:
        assert views.uids(taken_over(name), "Job") <= views.uids(stored(name), "Job")

    def test_what_serves_is_left_as_it_is(self, name: str) -> None:
        before, after = views.served(stored(name)), views.served(taken_over(name))
        assert {key: _identity(found) for key, found in after.items()} == {
            key: _identity(found) for key, found in before.items()
        }

    def test_an_upgrade_rolls_nothing_out(self, name: str) -> None:
        """Images are others now; a new revision comes with a change of the spec, or when the resource asks for it."""
        if READY.get(name) == "True" and "rolling-out" not in name:
            assert views.uids(taken_over(name), "Deployment") == views.uids(stored(name), "Deployment")

    def test_what_ended_says_what_it_said(self, name: str) -> None:
        before, after = views.ends(stored(name)), views.ends(taken_over(name))
        assert {key: after.get(key) for key in before} == before

    def test_what_runs_keeps_its_stage_spec(self, name: str) -> None:
        assert views.missing_specs(taken_over(name)) == []

    def test_it_says_where_everything_stands(self, name: str) -> None:
        objects = taken_over(name)
        if name in READY:
            chat = views.of(objects, "InferenceService")["InferenceService/chat"]
            assert views.told(chat, "Ready")["status"] == READY[name], views.told(chat, "Ready")
        if name in PHASES:
            newest = list(views.of(objects, "FineTune", "Quantization", "Evaluation").values())[-1]
            assert newest["status"]["phase"] == PHASES[name], newest["status"]["conditions"]

    def test_looking_again_changes_nothing(self, name: str) -> None:
        world = scenarios.load(taken_over(name))
        world.settings = UPGRADED
        world.settle()
        assert list(world.objects.values()) == taken_over(name)


@pytest.mark.parametrize("name", names())
class TestTheVersionBeforeAfterToday:
    """A rollback. That version's code is as it is: it may roll out what today's made, never take it away."""

    def test_no_run_is_started_beside_another_or_again(self, name: str) -> None:
        assert views.uids(_today_then_old()[name], "Job") <= views.uids(_by_today()[name], "Job")

    def test_what_serves_still_does(self, name: str) -> None:
        before, after = views.served(_by_today()[name]), views.served(_today_then_old()[name])
        assert {key: _identity(found) for key, found in after.items()} == {
            key: _identity(found) for key, found in before.items()
        }

    def test_what_ended_says_what_it_said(self, name: str) -> None:
        before, after = views.ends(_by_today()[name]), views.ends(_today_then_old()[name])
        assert {key: after.get(key) for key in before} == before


@pytest.mark.parametrize("name", names())
class TestThereAndBack:
    """The version before, today's, the version before again: as if nobody had come."""

    def test_no_run_is_started_again(self, name: str) -> None:
        assert views.uids(_round_trip()[name], "Job") <= views.uids(stored(name), "Job")

    def test_what_serves_was_not_touched(self, name: str) -> None:
        before, after = views.served(stored(name)), views.served(_round_trip()[name])
        assert {key: _identity(found) for key, found in after.items()} == {
            key: _identity(found) for key, found in before.items()
        }

    def test_what_ended_says_what_it_said(self, name: str) -> None:
        before, after = views.ends(stored(name)), views.ends(_round_trip()[name])
        assert {key: after.get(key) for key in before} == before


def _identity(deployment: Object) -> tuple[object, ...]:
    """What changes when pods are made anew: another Deployment, or another pod template."""
    return deployment["metadata"]["name"], deployment["metadata"]["uid"], str(deployment["spec"]["template"])


def test_there_is_something_to_serve_and_something_that_ended() -> None:
    assert sum(bool(views.served(stored(name))) for name in names()) >= 6
    assert sum(bool(views.ends(stored(name))) for name in names()) >= 10
