"""`hack/test_all.py`: the order of steps, what a failure stops, the table, the exit status."""

import subprocess
import sys
import threading
from typing import IO

import pytest

import test_all
from cluster import binaries
from test_all import Outcome, Step
from tests.unit.layout.repository import ROOT

STEPS = (
    Step("setup", ["true"]),
    Step("lint", ["true"], needs=("setup",)),
    Step("cluster", ["true"]),
    Step("e2e", ["true"], needs=("setup", "cluster")),
)


def results(failing: set[str]) -> dict[str, str]:
    outcomes = test_all.run_steps(STEPS, lambda step, output: 3 if step.name in failing else 0)
    return {outcome.step: outcome.result for outcome in outcomes}


def test_all_steps_run_in_order() -> None:
    assert results(set()) == {"setup": "ok", "lint": "ok", "cluster": "ok", "e2e": "ok"}


def test_a_failure_stops_only_what_builds_on_it() -> None:
    assert results({"cluster"}) == {
        "setup": "ok",
        "lint": "ok",
        "cluster": "FAILED (exit status 3)",
        "e2e": "not run: cluster failed",
    }


def test_an_interrupt_ends_the_row() -> None:
    def interrupt(step: Step, output: IO[bytes] | None) -> int:
        raise KeyboardInterrupt

    outcomes = test_all.run_steps(STEPS, interrupt)
    assert [(outcome.step, outcome.result) for outcome in outcomes] == [("setup", "INTERRUPTED")]


ROWS = (
    Step("setup", ["true"]),
    Step("unit", ["true"], ("setup",), aside=True),
    Step("cluster", ["true"], ("setup",)),
    Step("images", ["true"], ("setup",), after=("cluster",), aside=True),
    Step("chain", ["true"], ("images",)),
)


def test_the_second_row_runs_at_the_same_time_and_is_told_in_one_piece(
    capfd: pytest.CaptureFixture[str],
) -> None:
    both = threading.Barrier(2, timeout=20)  # passed only by two at once

    def meet(step: Step, output: IO[bytes] | None) -> int:
        if step.name in ("unit", "cluster"):
            both.wait()
        if output is not None:
            output.write(b"853 passed\n")
        return 3 if step.name == "unit" else 0

    outcomes = test_all.run_steps(ROWS, meet)
    assert [(o.step, o.result) for o in outcomes] == [
        ("setup", "ok"),
        ("unit", "FAILED (exit status 3)"),
        ("cluster", "ok"),
        ("images", "ok"),
        ("chain", "ok"),
    ]
    assert "\n== unit, which ran beside others: true\n853 passed\n" in capfd.readouterr().out


@pytest.mark.parametrize("failing", ["", "cluster"])
def test_a_step_waits_for_what_it_needs_and_comes_after_in_either_row(failing: str) -> None:
    ended: list[str] = []

    def note(step: Step, output: IO[bytes] | None) -> int:
        assert set(step.needs) | set(step.after) <= set(ended)
        ended.append(step.name)
        return int(step.name == failing)

    outcomes = {o.step: o.result for o in test_all.run_steps(ROWS, note)}
    assert outcomes["images"] == outcomes["chain"] == "ok", "coming after is not needing"


def test_what_the_other_row_could_not_make_is_needed_in_vain() -> None:
    outcomes = test_all.run_steps(ROWS, lambda step, output: int(step.name == "images"))
    assert {o.step: o.result for o in outcomes}["chain"] == "not run: images failed"


def test_a_step_that_waits_for_none_of_the_chosen_runs() -> None:
    chosen = test_all.choose(ROWS, "images,chain", None)
    assert [o.step for o in test_all.run_steps(chosen, lambda step, output: 0)] == ["images", "chain"]


def test_an_interrupt_ends_the_other_row_too() -> None:
    unit_runs = threading.Event()
    interrupted = threading.Event()

    def execute(step: Step, output: IO[bytes] | None) -> int:
        if step.name == "unit":
            unit_runs.set()
            assert interrupted.wait(20)
            return -2
        if step.name == "cluster":
            assert unit_runs.wait(20)
            interrupted.set()
            raise KeyboardInterrupt
        return 0

    assert {o.step for o in test_all.run_steps(ROWS, execute)} == {"setup", "unit", "cluster"}


def test_a_defect_in_one_row_does_not_leave_the_other_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda told: None)

    def execute(step: Step, output: IO[bytes] | None) -> int:
        if step.name == "images":
            raise OSError("no space left")
        return 0

    assert "chain" not in {o.step for o in test_all.run_steps(ROWS, execute)}


def test_steps_come_behind_what_they_wait_for() -> None:
    names = [step.name for step in test_all.STEPS]
    for step in test_all.STEPS:
        assert {*step.needs, *step.after} <= set(names[: names.index(step.name)]), step.name


def test_the_table_names_what_failed() -> None:
    shown = test_all.table(
        [Outcome("setup", "ok", 1.25), Outcome("unit", "FAILED (exit status 1)", 61)], 61.5
    )
    assert shown.splitlines() == [
        "setup       1.2 s  ok",
        "unit       61.0 s  FAILED (exit status 1)",
        "total      61.5 s",
        "not green: unit",
    ]


def test_steps_are_chosen_by_name() -> None:
    assert [step.name for step in test_all.choose(STEPS, "e2e,setup", None)] == ["setup", "e2e"]
    assert [step.name for step in test_all.choose(STEPS, None, "e2e")] == ["setup", "lint", "cluster"]


@pytest.mark.parametrize(("only", "skip"), [("unti", None), (None, "unti")])
def test_an_unknown_step_is_told(only: str | None, skip: str | None) -> None:
    with pytest.raises(
        ValueError, match=r"there is no step 'unti' here; the steps: setup, lint, cluster, e2e"
    ):
        test_all.choose(STEPS, only, skip)


def test_leaving_nothing_to_run_is_an_error() -> None:
    with pytest.raises(ValueError, match="no step is left"):
        test_all.choose(STEPS, "lint", "lint")


@pytest.mark.parametrize(("failing", "status"), [(set(), 0), ({"lint"}, 1)])
def test_the_exit_status(failing: set[str], status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_all, "STEPS", STEPS)
    monkeypatch.setattr(test_all, "execute", lambda step, output: int(step.name in failing))
    assert test_all.main([]) == status


def test_a_program_that_is_not_there_is_a_failure(capfd: pytest.CaptureFixture[str]) -> None:
    assert test_all.execute(Step("x", ["./no-such-program"]), None) == 127
    assert "x: ./no-such-program cannot be started" in capfd.readouterr().err


def test_a_wrong_step_on_the_command_line_is_status_2() -> None:
    argv = [sys.executable, ROOT / "hack" / "test_all.py", "--only", "unti"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 2
    assert "there is no step 'unti' here" in done.stderr


def test_every_program_of_the_tests_is_prepared_before_them() -> None:
    assert set(test_all.EXTRAS) == set(binaries.EXTRAS)
