"""What the API server counted: requests by verb and resource, from its own /metrics."""

from __future__ import annotations

import re
from collections import Counter

from benchmarks.operator.api import Api

_LINE = re.compile(r"^apiserver_request_total\{(?P<labels>[^}]*)\} (?P<value>[0-9.e+]+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
OURS = ("finetunes", "configmaps", "jobs", "pods")
"""What a FineTune is made of; `cluster up`, which applies its own Services, may run meanwhile."""

Counts = Counter[tuple[str, str]]


async def requests(api: Api) -> Counts:
    """Requests so far: (verb, resource or resource/subresource) to number; those that were refused, too."""
    found: Counts = Counter()
    for match in _LINE.finditer(await api.text("GET", "/metrics")):
        labels = dict(_LABEL.findall(match["labels"]))
        below = f"/{labels['subresource']}" if labels.get("subresource") else ""
        found[labels["verb"], labels["resource"] + below] += int(float(match["value"]))
    return found


def written(before: Counts, after: Counts) -> Counts:
    """What the operator wrote between two readings.

    Nobody else here applies server-side: Kubernetes' controllers update, kwok patches, the benchmark creates.
    """
    delta = after - before
    return Counter(
        {
            key: number
            for key, number in delta.items()
            if key[0] == "APPLY" and key[1].partition("/")[0] in OURS
        }
    )


def as_text(counts: Counts, each: int) -> str:
    """Writes an object by resource: `configmaps 1.00, finetunes/status 2.00`."""
    by_resource: Counter[str] = Counter()
    for (_, resource), number in counts.items():
        by_resource[resource] += number
    return ", ".join(f"{name} {number / each:.2f}" for name, number in sorted(by_resource.items()))
