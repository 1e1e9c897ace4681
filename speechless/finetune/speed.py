"""How fast a training is: tokens a second, and how much of the device's arithmetic the model uses (MFU).

Model FLOPs utilization (Chowdhery et al., 2022, arXiv:2204.02311, appendix B) counts what the model needs, not what is
computed again for gradient checkpointing. FLOPs a token, forward and backward:

- method Full: 6 N + 12 L A T
- method LoRA: 4 N + 6 P + 12 L A T, as the frozen weights get no gradient of their own

N: parameters that tokens are multiplied with: all but an input embedding, unless the output shares it. P: those of
the adapters. L: layers. A: attention heads times their size. T: tokens of a row, on average.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

PEAK: tuple[tuple[str, float], ...] = (
    ("H200", 989e12),
    ("H100 PCIe", 756e12),
    ("H100 NVL", 835e12),
    ("H100", 989e12),
    ("A100", 312e12),
    ("A10G", 70e12),
    ("A10", 125e12),
    ("L40S", 362e12),
    ("L40", 181e12),
    ("L4", 121e12),
    ("RTX 4090", 165e12),
    ("RTX 3090", 71e12),
)
"""A part of a GPU's name, and its dense bfloat16 FLOPs a second (NVIDIA's data sheets, without sparsity). The first
that fits counts."""


@dataclass(frozen=True)
class Cost:
    """What a token costs."""

    parameters: int
    """N of the formula."""
    trained: int
    """P of the formula; with method Full they are among N."""
    layers: int
    attention: int
    """A of the formula."""
    full: bool

    def flops(self, tokens: float) -> float:
        """FLOPs of a token in a row of `tokens`."""
        weights = 6 * self.parameters if self.full else 4 * self.parameters + 6 * self.trained
        return weights + 12 * self.layers * self.attention * tokens


def peak_of(device: str) -> float | None:
    """Dense bfloat16 FLOPs a second of a GPU by its name; None: not known."""
    return next((flops for part, flops in PEAK if part in device), None)


class Speed:
    """Tokens a second and MFU between two looks."""

    def __init__(
        self,
        tokens_a_row: float,
        rows_a_step: int,
        flops_a_token: float | None = None,
        peak: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`rows_a_step`: of all ranks; `peak`: FLOPs a second of all of them. None: MFU is not told."""
        self._tokens = tokens_a_row * rows_a_step
        self._flops, self._peak, self._clock = flops_a_token, peak, clock
        self._before: tuple[int, float] | None = None

    def look(self, step: int) -> dict[str, float]:
        """`tokens_per_second` and `mfu` (0 to 1) since the last look; nothing at the first one."""
        now, before = self._clock(), self._before
        self._before = step, now
        if before is None or step <= before[0] or now <= before[1]:
            return {}
        rate = self._tokens * (step - before[0]) / (now - before[1])
        told = {"tokens_per_second": rate}
        if self._flops and self._peak:
            told["mfu"] = rate * self._flops / self._peak
        return told
