"""Everything that is checked before a change lands, in order, with a table of times at the end: `make test`.

    python3 hack/test_all.py [--only STEP[,STEP...]] [--skip STEP[,STEP...]]

A tier of tests is a step once its folder is here. A failed step does not stop the others, but for those that build on
it; the exit status is 1 if any step failed. There are two rows: most steps run one after another, and those that
compute run in a second row beside them, because the others wait more than they compute; what such a step prints is
shown whole when it has ended. Standard library only: it runs before anything is installed.
"""

import argparse
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Step:
    """One thing to run: its argument list, the steps it builds on, and the folder without which it is not a step."""

    name: str
    argv: list[str]
    needs: tuple[str, ...] = ()
    folder: str = "."
    env: dict[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    """Steps that must have ended, well or not: they use the same things."""
    aside: bool = False
    """Whether it belongs to the second row."""


EXTRAS = ("kwok", "kueue", "monitoring", "registry", "versitygw", "azurite", "fake-gcs-server")
"""Programs of `hack/cluster` that the tests run beside a cluster."""
STEPS = (
    Step("setup", ["hack/setup.sh"]),
    Step("lint", [".venv/bin/python", "hack/lint.py"], needs=("setup",)),
    Step("docs", ["hack/docs.sh", "build"], needs=("setup",), folder="docs"),
    Step(
        "prepare",
        # These are for the tests alone; a cluster needs none of them.
        [sys.executable, "-m", "cluster", "prepare", "--with", ",".join(EXTRAS)],
        env={"PYTHONPATH": "hack"},
        folder="hack/cluster",
    ),
    # As soon as it can: on a machine that has to build Kubernetes first, it reports long before the others.
    Step("unit", [".venv/bin/pytest", "tests/unit", "-n", "2"], ("setup",), "tests/unit", aside=True),
    Step(
        "store",
        [".venv/bin/pytest", "tests/store", "-n", "2"],
        ("setup", "prepare"),
        "tests/store",
        aside=True,
    ),
    # These wait more than they compute: for processes to start, leases to run out, retries to come.
    Step("cluster", [".venv/bin/pytest", "tests/cluster", "-n", "4"], ("setup", "prepare"), "tests/cluster"),
    Step("e2e", [".venv/bin/pytest", "tests/e2e", "-n", "3"], ("setup", "prepare"), "tests/e2e"),
    Step(
        "apiserver",
        # loadgroup: the tests with Kueue, of which there is one, stay in one process.
        [".venv/bin/pytest", "tests/apiserver", "-n", "6", "--dist", "loadgroup"],
        ("setup", "prepare"),
        "tests/apiserver",
    ),
    Step(
        "images",
        [".venv/bin/python", "hack/images.py", "--up", "--down", "--instance", "test-e2e"],
        ("setup", "prepare"),
        "images",
        # The same instance; and tests/cluster looks at all that is mounted on the machine.
        after=("cluster", "e2e"),
        aside=True,
    ),
    # After the images: it uses llama.cpp's tools from the one that carries them.
    Step(
        "library",
        # Models this small gain nothing from a second thread, and two tests at a time do.
        ["hack/test_library.sh", "-n", "2", "--dist", "worksteal"],
        ("images",),
        "tests/library",
        {"OMP_NUM_THREADS": "1"},
        aside=True,
    ),
    # Both compute.
    Step(
        "chain", [".venv/bin/pytest", "tests/chain"], ("setup", "images"), "tests/chain", after=("library",)
    ),
)


INTERRUPTED = "INTERRUPTED"


@dataclass(frozen=True)
class Outcome:
    """What became of a step ("ok", "FAILED (exit status N)", "not run: ...", INTERRUPTED); its seconds of wall time."""

    step: str
    result: str
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether the step ran and succeeded."""
        return self.result == "ok"


Execute = Callable[[Step, IO[bytes] | None], int]


def execute(step: Step, output: IO[bytes] | None) -> int:
    """Run a step in the root of the checkout and return its exit status; None: its output goes where ours goes."""
    env = {**os.environ, **step.env}
    try:
        return subprocess.run(
            step.argv, cwd=ROOT, env=env, stdout=output, stderr=output, check=False
        ).returncode
    except OSError as error:
        print(f"test: {step.name}: {step.argv[0]} cannot be started: {error}", file=sys.stderr)
        return 127


class Board:
    """What has become of each step so far, for both rows to read."""

    def __init__(self, steps: Sequence[Step], execute: Execute) -> None:
        """`execute` runs a step, as the function of that name does."""
        self._steps = steps
        self._execute = execute
        self._outcomes: dict[str, Outcome] = {}
        self._aside: list[str] = []
        """Steps of the second row that run now."""
        self._changed = threading.Condition()
        self._stopped = False

    def outcomes(self) -> list[Outcome]:
        """Of the steps that have one, in the steps' order."""
        return [self._outcomes[step.name] for step in self._steps if step.name in self._outcomes]

    def stop(self) -> None:
        """Begin no other step."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def run_row(self, *, aside: bool) -> None:
        """Run the steps of a row in their order, each when those before it have ended in either row."""
        try:
            for step in self._steps:
                if step.aside is aside and not self._run(step):
                    return
        except BaseException:
            self.stop()  # or the other row would wait for this one
            raise

    def _run(self, step: Step) -> bool:
        names = {other.name for other in self._steps}
        before = names.intersection(step.needs + step.after)
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or before <= self._outcomes.keys())
            if self._stopped:
                return False
            missing = missing_of(step, self.outcomes())
            beside = [*self._aside]
            if step.aside and not missing:
                self._aside.append(step.name)
        run = run_aside if step.aside else run_here
        outcome = missing or run(step, beside, self._execute)
        with self._changed:
            self._outcomes[step.name] = outcome
            self._aside = [name for name in self._aside if name != step.name]
            if outcome.result == INTERRUPTED:
                self._stopped = True
            self._changed.notify_all()
        return True


def run_steps(steps: Sequence[Step], execute: Execute) -> list[Outcome]:
    """Run the steps, each row in its order; one that builds on a step that did not succeed is not run.

    An interrupt ends both rows.
    """
    board = Board(steps, execute)
    aside = threading.Thread(target=board.run_row, kwargs={"aside": True}, name="aside")
    aside.start()
    try:
        board.run_row(aside=False)
    except KeyboardInterrupt:  # it came while this row waited for the other
        pass
    finally:
        aside.join()
    return board.outcomes()


def missing_of(step: Step, outcomes: Sequence[Outcome]) -> Outcome | None:
    """The outcome of a step that cannot run, because one that it builds on did not succeed."""
    missing = [done.step for done in outcomes if done.step in step.needs and not done.ok]
    return Outcome(step.name, f"not run: {missing[0]} failed", 0) if missing else None


def run_here(step: Step, beside: Sequence[str], execute: Execute) -> Outcome:
    """Run a step with its output as it comes."""
    along = "".join(f", and {name} beside it" for name in beside)
    print(f"\n== {step.name}: {' '.join(step.argv)}{along}", flush=True)
    start = time.monotonic()
    try:
        return outcome_of(step, execute(step, None), time.monotonic() - start)
    except KeyboardInterrupt:
        return Outcome(step.name, INTERRUPTED, time.monotonic() - start)


def run_aside(step: Step, _beside: Sequence[str], execute: Execute) -> Outcome:
    """Run a step with its output kept, and print it in one piece: that of two steps at once could not be read."""
    start = time.monotonic()
    with TemporaryFile() as output:
        status = execute(step, output)
        output.seek(0)
        said = output.read().decode(errors="replace")
    print(f"\n== {step.name}, which ran beside others: {' '.join(step.argv)}\n{said}", end="", flush=True)
    return outcome_of(step, status, time.monotonic() - start)


def outcome_of(step: Step, status: int, seconds: float) -> Outcome:
    """What an exit status means."""
    return Outcome(step.name, "ok" if status == 0 else f"FAILED (exit status {status})", seconds)


def table(outcomes: Sequence[Outcome], seconds: float) -> str:
    """Return the table of times: a line a step, then the whole wall time, then what failed if anything did."""
    width = max(len("total"), *(len(outcome.step) for outcome in outcomes))
    lines = [f"{o.step:<{width}}  {o.seconds:8.1f} s  {o.result}" for o in outcomes]
    lines.append(f"{'total':<{width}}  {seconds:8.1f} s")
    bad = [outcome.step for outcome in outcomes if not outcome.ok]
    if bad:
        lines.append(f"not green: {', '.join(bad)}")
    return "\n".join(lines)


def choose(steps: Sequence[Step], only: str | None, skip: str | None) -> list[Step]:
    """Return the chosen steps in their order; raise ValueError naming a step that is not here."""
    names = [step.name for step in steps]
    wanted = only.split(",") if only else names
    unwanted = skip.split(",") if skip else []
    for name in [*wanted, *unwanted]:
        if name not in names:
            raise ValueError(f"there is no step {name!r} here; the steps: {', '.join(names)}")
    chosen = [step for step in steps if step.name in wanted and step.name not in unwanted]
    if not chosen:
        raise ValueError("no step is left to run")
    return chosen


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status: 0, 1 if a step failed, 2 for a usage error."""
    here = [step for step in STEPS if (ROOT / step.folder).is_dir()]
    names = ", ".join(step.name for step in here)
    parser = argparse.ArgumentParser(
        prog="hack/test_all.py", allow_abbrev=False, description=f"Steps: {names}."
    )
    parser.add_argument("--only", metavar="STEP[,STEP]", help="run these steps alone")
    parser.add_argument("--skip", metavar="STEP[,STEP]", help="run all steps but these")
    options = parser.parse_args(argv)
    try:
        chosen = choose(here, options.only, options.skip)
    except ValueError as error:
        parser.error(str(error))
    start = time.monotonic()
    outcomes = run_steps(chosen, execute)
    print(f"\n{table(outcomes, time.monotonic() - start)}", flush=True)
    return 0 if len(outcomes) == len(chosen) and all(outcome.ok for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
