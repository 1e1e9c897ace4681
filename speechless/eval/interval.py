"""How sure a score is."""

from __future__ import annotations

import math
from statistics import NormalDist

CONFIDENCE = 0.95


def wilson(passed: int, total: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The interval of a share, for a sample of `total` independent trials (Wilson, 1927).

    >>> low, high = wilson(94, 100)
    >>> print(f"{low:.2f} {high:.2f}")
    0.88 0.97
    """
    if not 0 <= passed <= total or total == 0:
        raise ValueError(f"{passed} of {total} is no share")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = passed / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(0.0, middle - half), min(1.0, middle + half)
