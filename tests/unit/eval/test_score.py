"""Scores of samples, against what the benchmark's authors publish."""

from pathlib import Path

import pytest

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.eval.humaneval.problems import Problem, read_problems
from speechless.eval.humaneval.samples import read_samples
from speechless.eval.humaneval.score import check_reference, count, metrics, score
from speechless.eval.sandbox.model import Limits
from speechless.eval.sandbox.pool import probe
from tests.support.benchmarks import benchmark

LIMITS = Limits(cpu_seconds=60)
SHORT = Limits(cpu_seconds=3)
"""For samples of which one has no other end."""
PROBLEM = Problem(
    task_id="t/0",
    prompt="def one():\n",
    entry_point="one",
    test="def check(candidate):\n    assert candidate() == 1",
    canonical_solution="    return 1",
)


def test_the_authors_example_gives_their_score() -> None:
    """Their README: example_samples.jsonl yields {'pass@1': 0.4999999999999999}."""
    problems = read_problems(benchmark("humaneval/example_problem.jsonl"))
    samples = read_samples(benchmark("humaneval/example_samples.jsonl"))
    outcomes = score(samples, {problem.task_id: problem for problem in problems}, SHORT, probe())
    found = {metric.name: metric.value for metric in metrics("", count(samples, outcomes), (1, 10, 100))}
    assert found == {"pass@1": 0.4999999999999999, "samples": 6, "timeouts": 1}


def test_wrong_and_right_samples() -> None:
    samples = [{"task_id": "t/0", "completion": body} for body in ("    return 1", "    return 2", "")]
    outcomes = score(samples, {"t/0": PROBLEM}, LIMITS, probe())
    assert [outcome.passed for outcome in outcomes] == [True, False, False]


def test_a_sample_of_an_unknown_task_is_refused() -> None:
    with pytest.raises(StageError, match="tasks that the data do not have: x/1") as refused:
        score([{"task_id": "x/1", "completion": ""}], {"t/0": PROBLEM}, LIMITS, probe())
    assert refused.value.reason is FailureReason.DATASET_INVALID


def test_data_whose_own_solution_fails_are_refused() -> None:
    bad = PROBLEM.model_copy(update={"canonical_solution": "    return 2"})
    with pytest.raises(
        StageError, match="1 of 1 of the data's own solutions do not pass here, first t/0"
    ) as refused:
        check_reference([bad], LIMITS, probe())
    assert refused.value.reason is FailureReason.NOTHING_SCORED
    assert check_reference([PROBLEM.model_copy(update={"canonical_solution": None})], LIMITS, probe()) == 0


def test_results_path(tmp_path: Path) -> None:
    from speechless.eval.humaneval.samples import write_results

    assert write_results(tmp_path / "s.jsonl", [], []).name == "s.jsonl_results.jsonl"
