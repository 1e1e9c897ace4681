"""Everything that is checked before a change lands, in order, with a table of times at the end: `make test`.

    python3 hack/test_all.py [--only STEP[,STEP...]] [--skip STEP[,STEP...]]

A tier of tests is a step once its folder is here. A failed step does not stop the others, but for those that build on
it; the exit status is 1 if any step failed. Standard library only: it runs before anything is installed.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Step:
    """One thing to run: its argument list, the steps it builds on, and the folder without which it is not a step."""

    name: str
    argv: list[str]
    needs: tuple[str, ...] = ()
    folder: str = "."
    env: dict[str, str] = field(default_factory=dict)


STEPS = (
    Step("setup", ["hack/setup.sh"]),
    Step("lint", [".venv/bin/python", "hack/lint.py"], needs=("setup",)),
    Step("docs", ["hack/docs.sh", "build"], needs=("setup",), folder="docs"),
    Step("unit", [".venv/bin/pytest", "tests/unit", "-n", "2"], needs=("setup",), folder="tests/unit"),
    Step(
        "prepare",
        [sys.executable, "-m", "cluster", "prepare"],
        env={"PYTHONPATH": "hack"},
        folder="hack/cluster",
    ),
    # These wait more than they compute: for processes to start, leases to run out, retries to come.
    Step("cluster", [".venv/bin/pytest", "tests/cluster", "-n", "4"], ("setup", "prepare"), "tests/cluster"),
    Step(
        "apiserver",
        [".venv/bin/pytest", "tests/apiserver", "-n", "6"],
        ("setup", "prepare"),
        "tests/apiserver",
    ),
    Step("e2e", [".venv/bin/pytest", "tests/e2e", "-n", "3"], ("setup", "prepare"), "tests/e2e"),
    Step(
        "images",
        [".venv/bin/python", "hack/images.py", "--up", "--down", "--instance", "test-e2e"],
        ("setup", "prepare"),
        "images",
    ),
    # After the images: it uses llama.cpp's tools from the one that carries them.
    Step("library", ["hack/test_library.sh"], ("images",), "tests/library"),
    Step("chain", [".venv/bin/pytest", "tests/chain"], ("setup", "images"), "tests/chain"),
)


@dataclass(frozen=True)
class Outcome:
    """What became of a step: "ok", "FAILED (exit status N)" or "not run: ..."; and its seconds of wall time."""

    step: str
    result: str
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether the step ran and succeeded."""
        return self.result == "ok"


def execute(step: Step) -> int:
    """Run a step in the root of the checkout, its output going where ours goes, and return its exit status."""
    try:
        return subprocess.run(step.argv, cwd=ROOT, env={**os.environ, **step.env}, check=False).returncode
    except OSError as error:
        print(f"test: {step.name}: {step.argv[0]} cannot be started: {error}", file=sys.stderr)
        return 127


def run_steps(steps: Sequence[Step], execute: Callable[[Step], int]) -> list[Outcome]:
    """Run the steps in order; one that builds on a step that did not succeed is not run. An interrupt ends the row."""
    outcomes: list[Outcome] = []
    for step in steps:
        missing = [done.step for done in outcomes if done.step in step.needs and not done.ok]
        if missing:
            outcomes.append(Outcome(step.name, f"not run: {missing[0]} failed", 0))
            continue
        print(f"\n== {step.name}: {' '.join(step.argv)}", flush=True)
        start = time.monotonic()
        try:
            status = execute(step)
        except KeyboardInterrupt:
            outcomes.append(Outcome(step.name, "INTERRUPTED", time.monotonic() - start))
            break
        result = "ok" if status == 0 else f"FAILED (exit status {status})"
        outcomes.append(Outcome(step.name, result, time.monotonic() - start))
    return outcomes


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the table of times: a line a step, then the sum, then what failed if anything did."""
    width = max(len("total"), *(len(outcome.step) for outcome in outcomes))
    lines = [f"{o.step:<{width}}  {o.seconds:8.1f} s  {o.result}" for o in outcomes]
    lines.append(f"{'total':<{width}}  {sum(o.seconds for o in outcomes):8.1f} s")
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
    outcomes = run_steps(chosen, execute)
    print(f"\n{table(outcomes)}", flush=True)
    return 0 if len(outcomes) == len(chosen) and all(outcome.ok for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
