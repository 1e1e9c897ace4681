"""pass@k: the chance that at least one of k samples passes (Chen et al., 2021, arXiv:2107.03374, section 2.1)."""

from collections.abc import Sequence
from math import prod


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """The unbiased estimate from `samples` samples of one task, of which `passed` passed: 1 - C(n-c, k) / C(n, k)."""
    if not 0 <= passed <= samples or not 1 <= k <= samples:
        raise ValueError(f"pass@{k} cannot be estimated from {passed} passed of {samples} samples")
    if samples - passed < k:
        return 1.0
    return 1.0 - prod(1.0 - k / i for i in range(samples - passed + 1, samples + 1))


def of_tasks(counts: Sequence[tuple[int, int]], k: int) -> list[float] | None:
    """pass@k of each task, by its (samples, passed); None where one has fewer than k samples: no number is better."""
    if not counts or any(samples < k for samples, _ in counts):
        return None
    return [pass_at_k(samples, passed, k) for samples, passed in counts]


def mean_pass_at_k(counts: Sequence[tuple[int, int]], k: int) -> float | None:
    """The mean of `of_tasks`; None as there."""
    found = of_tasks(counts, k)
    return None if found is None else sum(found) / len(found)
