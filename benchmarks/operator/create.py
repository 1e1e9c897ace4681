"""The resources: made by a few tasks at once, as a busy namespace would."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.operator.api import Api, Object, collection

AT_ONCE = 8


def fine_tune(name: str, namespace: str, **spec: Any) -> Object:
    """A FineTune of the usual size."""
    return {
        "apiVersion": "speechless.dev/v1alpha1",
        "kind": "FineTune",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "model": {"uri": "pvc://models/base"},
            "dataset": {"uri": "pvc://models/rows.jsonl", "format": "Messages"},
            "hyperparameters": {"epochs": 2, "learningRate": 0.0002},
            **spec,
        },
    }


def names(start: int, number: int) -> Sequence[str]:
    """The names of so many resources."""
    return [f"run-{index:06d}" for index in range(start, start + number)]


async def create(api: Api, namespace: str, wanted: Iterable[str], **spec: Any) -> None:
    """Create FineTunes of these names."""
    left = iter(wanted)

    async def work() -> None:
        for name in left:
            await api.call("POST", collection(namespace), fine_tune(name, namespace, **spec))

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())
