"""Figures of the resources for /metrics, kept as the cache changes: a scrape costs nothing that grows with history."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Iterator

from speechless_operator.desired.objects import Object
from speechless_operator.plan.conditions import Phase

MAX_EVALUATIONS = 2_000
"""Of the Evaluations, the ones that changed last have their scores in /metrics."""
MAX_SCORES = 16
"""Of an Evaluation's metrics, the first ones."""
NEW, OTHER = "New", "Other"
_PHASES = frozenset(phase.value for phase in Phase)

Named = tuple[str, str]


class Tally:
    """Counts by kind and phase, and the scores of the newest Evaluations."""

    def __init__(self) -> None:
        """Start empty."""
        self.phases: Counter[tuple[str, str]] = Counter()
        self._scores: OrderedDict[Named, tuple[tuple[str, float], ...]] = OrderedDict()

    def replace(self, old: Object | None, new: Object | None) -> None:
        """A resource came, changed or went."""
        if old is not None:
            self.phases[_phase(old)] -= 1
        if new is not None:
            self.phases[_phase(new)] += 1
        obj = new or old
        if obj is not None and obj["kind"] == "Evaluation":
            self._score(obj, new)

    def scores(self) -> Iterator[tuple[str, str, str, float]]:
        """Namespace, name, metric and value."""
        for (namespace, name), scores in self._scores.items():
            for metric, value in scores:
                yield namespace, name, metric, value

    def _score(self, obj: Object, new: Object | None) -> None:
        named = (obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        found = _scored(new) if new is not None else ()
        if not found:
            self._scores.pop(named, None)
        elif self._scores.get(named) != found:
            self._scores[named] = found
            self._scores.move_to_end(named)
            while len(self._scores) > MAX_EVALUATIONS:
                self._scores.popitem(last=False)


def _phase(obj: Object) -> tuple[str, str]:
    phase = (obj.get("status") or {}).get("phase", NEW)
    return obj["kind"], phase if phase in _PHASES or phase == NEW else OTHER


def _scored(obj: Object) -> tuple[tuple[str, float], ...]:
    found = {}
    for metric in ((obj.get("status") or {}).get("metrics") or [])[:MAX_SCORES]:
        name, value = metric.get("name"), metric.get("value")
        if isinstance(name, str) and isinstance(value, int | float) and math.isfinite(value):
            found[name] = float(value)
    return tuple(found.items())
