"""What the operator costs while nothing happens, and how soon it answers when something does."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence

from benchmarks.operator import server, watching
from benchmarks.operator.api import MERGE, Api, Object, collection
from benchmarks.operator.create import create, names
from benchmarks.operator.process import operator, wait_ready
from benchmarks.operator.stand import INSTANCE, NAMESPACE, stand
from benchmarks.operator.table import Row, Table

PART = "idle"
CORE = 2.0
P99 = 100.0
TOUCHES = 200
_PAUSE = 0.1
"""Seconds between two touches: each is alone."""


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(percent / 100 * len(ranked)) - 1)]


async def touch(api: Api, wanted: Sequence[str]) -> list[float]:
    """Change the spec of one FineTune after the other; milliseconds from the answer to its told generation."""
    found = []
    async with watching.watcher(api, NAMESPACE, lambda _: False) as seen:
        for index, name in enumerate(wanted):
            body = {"spec": {"ttlSecondsAfterFinished": 100_000 + index}}
            path = f"{collection(NAMESPACE)}/{name}"
            changed = await api.call("PATCH", path, body, content_type=MERGE)
            began, generation = time.monotonic(), changed["metadata"]["generation"]
            await seen.see(name, lambda obj: _observed(obj) >= generation)  # noqa: B023 - awaited in the loop
            found.append(1000 * (time.monotonic() - began))
            await asyncio.sleep(_PAUSE)
    return found


def _observed(obj: Object) -> int:
    return int(obj.get("status", {}).get("observedGeneration", 0))


async def measure(table: Table, sizes: list[int], seconds: float) -> None:
    """With suspended FineTunes, each with its Job: nothing of theirs moves."""
    for number in sizes:
        with (
            stand(nodes=0) as place,
            operator(INSTANCE, place.address, place.kubeconfig, place.folder) as process,
        ):
            place.hurry()
            wait_ready(process, time.monotonic())
            async with Api(place.kubeconfig) as api:
                async with watching.watcher(api, NAMESPACE, watching.suspended) as seen:
                    await create(api, NAMESPACE, names(0, number), suspend=True)
                    await seen.until(number, seconds=120 + number)
                await _settle(api)
                before, cpu, began = await server.requests(api), process.cpu_seconds(), time.monotonic()
                await asyncio.sleep(seconds)
                share = 100 * (process.cpu_seconds() - cpu) / (time.monotonic() - began)
                written = server.written(before, await server.requests(api))
                note = f"in {seconds:.0f} s"
                table.add(
                    Row(
                        PART,
                        "writes",
                        number,
                        written.total(),
                        "",
                        0,
                        note + " " + server.as_text(written, 1),
                    )
                )
                table.add(Row(PART, "CPU", number, share, "% of a core", CORE, note))
                table.add(Row(PART, "memory", number, process.memory_mib(), "MiB"))
                times = await touch(api, names(0, min(TOUCHES, number)))
                note = f"{len(times)} changes, one at a time"
                table.add(Row(PART, "change to told, p50", number, percentile(times, 50), "ms", note=note))
                table.add(Row(PART, "change to told, p99", number, percentile(times, 99), "ms", P99, note))


async def _settle(api: Api, quiet: float = 5) -> None:
    """Until nobody has written for some seconds: the Jobs' controller comes after everybody."""
    last = await server.requests(api)
    while True:
        await asyncio.sleep(quiet)
        now = await server.requests(api)
        jobs = [
            number for (verb, what), number in (now - last).items() if what == "jobs/status" and verb != "GET"
        ]
        if not sum(jobs) and not server.written(last, now).total():
            return
        last = now
