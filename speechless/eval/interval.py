"""How sure a score is."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from statistics import NormalDist, fmean

CONFIDENCE = 0.95
RESAMPLES = 2000


def wilson(passed: int, total: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The interval of a share, for a sample of `total` independent trials (Wilson, 1927).

    >>> low, high = wilson(94, 100)
    >>> print(f"{low:.2f} {high:.2f}")
    0.88 0.97
    """
    if not 0 <= passed <= total or total == 0:
        raise ValueError(f"{passed} of {total} is no share")
    return _of_share(passed / total, total, confidence)


def of_mean(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The interval of the mean of what each problem gave, each from 0 to 1, if other problems of the kind were drawn.

    Where every problem passed or failed it is Wilson's. Else it is the bootstrap's, by percentiles of 2,000 resamples
    of the problems (Efron, 1979); the same values give the same interval. Where all values are equal, a resample says
    nothing, and it is Wilson's of that share of so many problems.

    >>> print("%.2f %.2f" % of_mean([1.0] * 94 + [0.0] * 6))
    0.88 0.97
    """
    if not values or not all(0 <= value <= 1 for value in values):
        raise ValueError("a mean needs values from 0 to 1")
    total, mean = len(values), fmean(values)
    if len(set(values)) == 1 or set(values) <= {0.0, 1.0}:
        return _of_share(mean, total, confidence)
    draw = random.Random(0)
    means = sorted(fmean(draw.choices(values, k=total)) for _ in range(RESAMPLES))
    tail = round((1 - confidence) / 2 * RESAMPLES)
    return means[tail], means[-1 - tail]


def _of_share(share: float, total: int, confidence: float) -> tuple[float, float]:
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(0.0, middle - half), min(1.0, middle + half)
