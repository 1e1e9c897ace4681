"""From the first create to the last first status, beside the floor; then what it takes until all run."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from pathlib import Path

from benchmarks.operator import server, templates, watching
from benchmarks.operator.api import Api, Object, collection
from benchmarks.operator.create import create, names
from benchmarks.operator.process import Operator, operator, wait_ready
from benchmarks.operator.stand import INSTANCE, NAMESPACE, Stand, stand
from benchmarks.operator.table import Row, Table, say
from tests.support.beside import inside, running
from tests.support.wait import wait_for

PART = "speed"
RATIO = 1.10
WRITES = 4
_SAMPLE = "sample-0000"


async def round_of(api: Api, number: int) -> float:
    """Seconds from the first create until every FineTune has its ConfigMap, its Job and its first status."""
    async with watching.watcher(api, NAMESPACE, watching.started) as seen:
        began = time.monotonic()
        await create(api, NAMESPACE, names(0, number))
        ends = [await seen.until(number, seconds=60 + number)]
    return max([*ends, *await _children(api, number)]) - began


async def _children(api: Api, number: int) -> list[float]:
    """Until so many have their children; the times at which that was seen, where it was not so already.

    Counted afterwards: looking costs, and most are there when the last status is told.
    """
    ends = []
    for plural, others in (("jobs", 0), ("configmaps", 1)):  # every namespace has kube-root-ca.crt
        if await api.count(collection(NAMESPACE, plural)) < number + others:
            ends.append(await watching.counted(api, NAMESPACE, plural, number + others))
    return ends


async def sample() -> Object:
    """What the operator makes of one FineTune."""
    with (
        stand() as place,
        operator(INSTANCE, place.address, place.kubeconfig, place.folder) as process,
    ):
        wait_ready(process, time.monotonic())
        async with Api(place.kubeconfig) as api:
            async with (
                watching.watcher(api, NAMESPACE, watching.started) as start,
                watching.watcher(api, NAMESPACE, watching.runs) as run,
            ):
                await create(api, NAMESPACE, [_SAMPLE])
                await run.until(1, seconds=60)
                await start.until(1, seconds=1)
            return await templates.of(api, NAMESPACE, start.first[_SAMPLE], run.first[_SAMPLE])


async def floor(number: int, template: Object) -> float:
    """A round with the bare client in the operator's place."""
    with stand() as place:
        file = place.folder / "template.json"
        file.write_text(json.dumps(template))
        log = place.folder / "floor.log"
        argv: list[str | Path] = [
            *inside(INSTANCE), sys.executable, "-m", "benchmarks.operator.floor", place.kubeconfig, NAMESPACE, file,
        ]  # fmt: skip
        with running(argv, log, lambda: "ready" in log.read_text()):
            async with Api(place.kubeconfig) as api:
                return await round_of(api, number)


async def ours(number: int, table: Table | None) -> float:
    """A round with the operator; with a table, it also has the figures until all run."""
    with stand() as place, operator(INSTANCE, place.address, place.kubeconfig, place.folder) as process:
        wait_ready(process, time.monotonic())
        async with Api(place.kubeconfig) as api:
            before, cpu = await server.requests(api), process.cpu_seconds()
            seconds = await round_of(api, number)
            if table:
                table.add(Row(PART, "CPU of the operator", number, process.cpu_seconds() - cpu, "s"))
                await _until_all_run(api, place, process, number, before, table)
        return seconds


async def _until_all_run(
    api: Api, place: Stand, process: Operator, number: int, before: server.Counts, table: Table
) -> None:
    place.hurry()
    async with watching.watcher(api, NAMESPACE, watching.runs) as seen:
        async for obj in api.items(collection(NAMESPACE)):
            if watching.runs(obj):
                seen.at.setdefault(obj["metadata"]["name"], time.monotonic())
        await seen.until(number, seconds=120 + number)
    await _quiet(process)
    written = server.written(before, await server.requests(api))
    note = server.as_text(written, number)
    table.add(
        Row(PART, "writes a FineTune until it runs", number, written.total() / number, "", WRITES, note)
    )
    table.add(Row(PART, "memory at its peak", number, process.memory_mib("VmHWM"), "MiB"))


async def _quiet(process: Operator) -> None:
    def empty() -> bool:
        return process.total("speechless_operator_queue_depth") == 0

    await asyncio.to_thread(wait_for, empty, "the queue to be empty", timeout=60)


async def measure(table: Table, sizes: list[int], rounds: int) -> None:
    """Rounds of the floor and of the operator in turn, each the first in every second; of large sizes, one."""
    template = await sample()
    for number in sizes:
        found: dict[str, list[float]] = {"floor": [], "operator": []}
        turns = rounds if number <= 1000 else 1
        for turn in range(turns):
            for who in sorted(found, reverse=turn % 2 == 1):
                last = table if turn == turns - 1 else None
                seconds = await (floor(number, template) if who == "floor" else ours(number, last))
                found[who].append(seconds)
            say(f"{PART}: round {turn + 1} of {turns} at {number}: " + _told(found))
        medians = {who: statistics.median(times) for who, times in found.items()}
        note = f"rounds: {_told(found)}"
        table.add(Row(PART, "floor: all started", number, medians["floor"], "s"))
        table.add(Row(PART, "operator: all started", number, medians["operator"], "s", note=note))
        # A shared machine is fast in one minute and slow in another: a round's two halves are nearest to each other.
        ratios = [full / bare for bare, full in zip(found["floor"], found["operator"], strict=True)]
        note = "median of " + " ".join(f"{each:.2f}" for each in sorted(ratios))
        table.add(Row(PART, "operator / floor", number, statistics.median(ratios), "x", RATIO, note))


def _told(found: dict[str, list[float]]) -> str:
    return ", ".join(f"{who} " + " ".join(f"{each:.1f}" for each in times) for who, times in found.items())
