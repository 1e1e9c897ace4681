"""Runs that ended and are kept: what they cost an operator that starts, and one that goes on."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence

from benchmarks.operator import server, watching
from benchmarks.operator.api import MERGE, Api, Object, collection
from benchmarks.operator.create import create, names
from benchmarks.operator.process import operator, wait_ready
from benchmarks.operator.stand import INSTANCE, NAMESPACE, Stand, stand
from benchmarks.operator.table import Row, Table
from speechless.contract import Artifact, Format, Metric, Outcome, StageResult

PART = "kept"
MEMORY = 256.0
START = 15.0
RESYNC = 20
"""Seconds between two resyncs, instead of 300: a run of the benchmark sees several."""
_RESYNCS = 2
_BATCH = 1000


def message(output: str) -> str:
    """What a stage that went well leaves: an artifact at its own output."""
    digest = "sha256:" + "a" * 64
    result = StageResult(
        outcome=Outcome.SUCCEEDED,
        artifact=Artifact(uri=output, digest=digest, size_bytes=1234, format=Format.HUGGING_FACE),
        metrics=tuple(Metric(name=name, value=0.5) for name in ("loss", "eval/loss")),
        seed=42,
        versions={"transformers": "5.0.0", "torch": "2.13.0"},
        seconds=1.5,
    )
    return result.termination_message()


async def play(api: Api, at_once: int = 8) -> None:
    """Have every pod that runs end well, until cancelled."""
    queue: asyncio.Queue[Object] = asyncio.Queue()
    path = collection(NAMESPACE, "pods")

    async def listen() -> None:
        asked: set[str] = set()
        async for event in api.watch(path, await api.version(path)):
            pod = event["object"]
            uid = pod["metadata"]["uid"]
            if event["type"] == "DELETED":
                asked.discard(uid)
            elif pod["status"].get("phase") == "Running" and uid not in asked:
                asked.add(uid)
                queue.put_nowait(pod)

    async def work() -> None:
        while True:
            pod = await queue.get()
            job = pod["metadata"]["labels"]["batch.kubernetes.io/job-name"]
            found = await api.call("GET", f"{collection(NAMESPACE, 'configmaps')}/{job}")
            output = json.loads(found["data"]["stage.json"])["output"]
            notes = {"test/message": message(output), "test/run-for": "0s"}
            body = {"metadata": {"annotations": notes}}
            await api.call("PATCH", f"{path}/{pod['metadata']['name']}", body, content_type=MERGE)

    async with asyncio.TaskGroup() as group:
        group.create_task(listen())
        for _ in range(at_once):
            group.create_task(work())


async def measure(table: Table, sizes: list[int]) -> None:
    """More and more runs end; at each size the operator is started anew and looked at."""
    with stand(nodes=3) as place:
        place.hurry()
        async with Api(place.kubeconfig) as api:
            there = 0
            for number in sizes:
                lost = await _end(api, place, there, number)
                table.add(Row(PART, "said to have failed, of runs that went well", number, lost, "", 0))
                there = number
                await _restart(api, place, table, number)


async def _end(api: Api, place: Stand, there: int, number: int) -> int:
    """Create runs and have them end well, until there are so many; how many are said to have failed nevertheless."""
    lost = 0
    with operator(INSTANCE, place.address, place.kubeconfig, place.folder) as process:
        wait_ready(process, time.monotonic())
        player = asyncio.create_task(play(api))
        try:
            for start in range(there, number, _BATCH):
                batch = names(start, min(_BATCH, number - start))
                # Those of earlier batches may have news, too.
                async with watching.watcher(api, NAMESPACE, _ended_of(batch)) as seen:
                    await create(api, NAMESPACE, batch)
                    await seen.until(len(batch), seconds=600)
                    lost += sum(watching.failed(seen.latest[name]) for name in batch)
                if player.done():
                    player.result()
        finally:
            player.cancel()
            await asyncio.gather(player, return_exceptions=True)
    return lost


def _ended_of(batch: Sequence[str]) -> watching.Predicate:
    mine = frozenset(batch)
    return lambda obj: obj["metadata"]["name"] in mine and watching.ended(obj)


async def _restart(api: Api, place: Stand, table: Table, number: int) -> None:
    left = {
        plural: await api.count(collection(NAMESPACE, plural)) for plural in ("jobs", "pods", "configmaps")
    }
    note = ", ".join(f"{count} {plural}" for plural, count in left.items()) + " left"
    began = time.monotonic()
    flags = [f"--resync-seconds={RESYNC}"]
    with operator(INSTANCE, place.address, place.kubeconfig, place.folder, *flags) as process:
        before = await server.requests(api)
        seconds = await asyncio.to_thread(wait_ready, process, began)
        table.add(Row(PART, "start until it leads", number, seconds, "s", START, note))
        table.add(
            Row(PART, "memory, peak of the first sync", number, process.memory_mib("VmHWM"), "MiB", MEMORY)
        )
        await asyncio.sleep(RESYNC * _RESYNCS + 5)
        written = server.written(before, await server.requests(api))
        note = server.as_text(written, 1)
        table.add(Row(PART, "writes after a start", number, written.total(), "", 0, note))
        note = f"after {_RESYNCS} resyncs"
        table.add(Row(PART, "memory, peak", number, process.memory_mib("VmHWM"), "MiB", MEMORY, note))
        table.add(Row(PART, "memory, afterwards", number, process.memory_mib(), "MiB"))
