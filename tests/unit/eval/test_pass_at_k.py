"""The unbiased estimator, against counting all choices."""

from itertools import combinations

import pytest

from speechless.eval.pass_at_k import mean_pass_at_k, pass_at_k


@pytest.mark.parametrize("samples", [1, 2, 5, 7])
def test_it_is_the_share_of_choices_with_a_pass(samples: int) -> None:
    for passed in range(samples + 1):
        for k in range(1, samples + 1):
            choices = list(combinations([True] * passed + [False] * (samples - passed), k))
            assert pass_at_k(samples, passed, k) == pytest.approx(sum(map(any, choices)) / len(choices))


@pytest.mark.parametrize(("samples", "passed", "k"), [(3, 4, 1), (3, -1, 1), (3, 1, 0), (3, 1, 4)])
def test_what_cannot_be_estimated_is_refused(samples: int, passed: int, k: int) -> None:
    with pytest.raises(ValueError, match="cannot be estimated"):
        pass_at_k(samples, passed, k)


def test_the_mean_over_tasks_needs_k_samples_of_each() -> None:
    assert mean_pass_at_k([(2, 1), (2, 2)], 1) == 0.75
    assert mean_pass_at_k([(2, 1), (1, 1)], 2) is None
    assert mean_pass_at_k([], 1) is None
