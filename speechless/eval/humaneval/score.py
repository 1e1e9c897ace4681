"""Run samples against their problems' tests and count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from speechless.contract import FailureReason, Metric
from speechless.errors import StageError
from speechless.eval import interval
from speechless.eval.humaneval.problems import Problem
from speechless.eval.pass_at_k import mean_pass_at_k, of_tasks
from speechless.eval.report import TaskOutcomes
from speechless.eval.sandbox.model import Isolation, Limits, Outcome
from speechless.eval.sandbox.pool import run_all


def check_reference(
    problems: Sequence[Problem],
    limits: Limits,
    isolation: Isolation,
    *,
    workers: int | None = None,
    progress: Callable[[int], None] = lambda _done: None,
) -> int:
    """Run the data's own solutions and return their number.

    One that fails means that the limits, this machine or the data are wrong, and every score with them:
    `NOTHING_SCORED`.
    """
    known = [problem for problem in problems if problem.canonical_solution is not None]
    programs = [problem.program(problem.canonical_solution or "") for problem in known]
    outcomes = run_all(programs, limits, isolation, workers=workers, progress=progress)
    bad = [(problem, outcome) for problem, outcome in zip(known, outcomes, strict=True) if not outcome.passed]
    if bad:
        problem, outcome = bad[0]
        raise StageError(
            FailureReason.NOTHING_SCORED,
            f"{len(bad)} of {len(known)} of the data's own solutions do not pass here, first {problem.task_id}: "
            f"{outcome.result}",
            "timed out: raise the timeout or give the evaluation more processor; otherwise the data are at fault.",
        )
    return len(known)


def score(
    samples: Sequence[Mapping[str, Any]],
    problems: Mapping[str, Problem],
    limits: Limits,
    isolation: Isolation,
    *,
    workers: int | None = None,
    progress: Callable[[int], None] = lambda _done: None,
    stopping: Callable[[], bool] = lambda: False,
) -> list[Outcome]:
    """Run every sample; outcomes in their order. A sample of an unknown task is `DATASET_INVALID`."""
    unknown = sorted({sample["task_id"] for sample in samples} - set(problems))
    if unknown:
        raise StageError(
            FailureReason.DATASET_INVALID,
            f"samples of tasks that the data do not have: {', '.join(unknown[:5])}",
            "Score samples with the problems that they were generated from.",
        )
    programs = [program_of(sample, problems[sample["task_id"]]) for sample in samples]
    return run_all(programs, limits, isolation, workers=workers, progress=progress, stopping=stopping)


def program_of(sample: Mapping[str, Any], problem: Problem) -> str:
    """What is run of a sample: its `solution`, where it has one, else the prompt with its `completion`."""
    whole = sample.get("solution")
    return problem.program(sample["completion"]) if whole is None else problem.tested(whole)


def count(samples: Sequence[Mapping[str, Any]], outcomes: Sequence[Outcome]) -> dict[str, TaskOutcomes]:
    """Outcomes by task, in the order in which the tasks first occur."""
    tally: dict[str, Counter[str]] = {}
    for sample, outcome in zip(samples, outcomes, strict=True):
        tally.setdefault(sample["task_id"], Counter())[outcome.verdict.name.lower()] += 1
    return {task: TaskOutcomes(**counts) for task, counts in tally.items()}


def total(per_task: Mapping[str, TaskOutcomes]) -> TaskOutcomes:
    """Outcomes of all tasks together."""
    everything = per_task.values()
    return TaskOutcomes(
        passed=sum(task.passed for task in everything),
        failed=sum(task.failed for task in everything),
        timed_out=sum(task.timed_out for task in everything),
    )


def metrics(prefix: str, per_task: Mapping[str, TaskOutcomes], ks: Sequence[int]) -> tuple[Metric, ...]:
    """`<prefix>pass@k` for every k that all tasks have samples for, then `samples` and `timeouts`."""
    counts = [(task.samples, task.passed) for task in per_task.values()]
    scores = {f"pass@{k}": value for k in ks if (value := mean_pass_at_k(counts, k)) is not None}
    everything = total(per_task)
    scores |= {"samples": everything.samples, "timeouts": everything.timed_out}
    return tuple(Metric(name=f"{prefix}{name}", value=value) for name, value in scores.items())


def intervals(
    prefix: str, per_task: Mapping[str, TaskOutcomes], ks: Sequence[int]
) -> dict[str, tuple[float, float]]:
    """How sure each `<prefix>pass@k` is: its 95 % interval (`interval.of_mean`)."""
    counts = [(task.samples, task.passed) for task in per_task.values()]
    values = {k: found for k in ks if (found := of_tasks(counts, k)) is not None}
    return {f"{prefix}pass@{k}": interval.of_mean(found) for k, found in values.items()}
