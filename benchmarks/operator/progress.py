"""Many pods that run and report progress: what asking them costs, how soon it is told, and whether the Lease holds."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime

from benchmarks.operator import server, watching
from benchmarks.operator.api import Api, Object, collection
from benchmarks.operator.create import create, names
from benchmarks.operator.idle import percentile
from benchmarks.operator.process import operator, wait_ready
from benchmarks.operator.stand import INSTANCE, NAMESPACE, Stand, stand
from benchmarks.operator.table import Row, Table
from tests.support import kwok
from tests.support.beside import inside, running

PART = "progress"
SHARE = 20.0
TOLD = 30.0
REQUESTS = "speechless_operator_api_requests_total"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
LEASE_DURATION = 15.0


def _telling(obj: Object) -> bool:
    return "step" in obj.get("status", {}).get("progress", {})


async def measure(table: Table, number: int, seconds: float) -> None:
    """FineTunes whose pods all run and all move."""
    nodes = 2 + number // 4000
    with (
        stand(nodes) as place,
        _answering(place) as began_at,
        operator(INSTANCE, place.address, place.kubeconfig, place.folder) as process,
    ):
        place.hurry()
        wait_ready(process, time.monotonic())
        async with Api(place.kubeconfig) as api, renewals(api) as gaps:
            await _started(api, table, number)
            before, asked = await server.requests(api), process.total(REQUESTS)
            cpu, since = process.cpu_seconds(), time.monotonic()
            await asyncio.sleep(seconds)
            lasted = time.monotonic() - since
            written = server.written(before, await server.requests(api))
            requests = (process.total(REQUESTS) - asked) / lasted
            table.add(Row(PART, "CPU", number, 100 * (process.cpu_seconds() - cpu) / lasted, "% of a core"))
            told = written["APPLY", "finetunes/status"] / lasted
            table.add(Row(PART, "requests", number, requests, "/s"))
            # The old limit of the operator's rate is the yardstick: 100 requests a second.
            table.add(Row(PART, "progress told", number, told, "/s", SHARE, "a fifth of 100 requests/s"))
            ages = [
                time.time() - began_at - obj["status"]["progress"]["step"]
                async for obj in api.items(collection(NAMESPACE))
                if _telling(obj)
            ]
            table.add(Row(PART, "age of what is told, p50", number, percentile(ages, 50), "s"))
            table.add(Row(PART, "age of what is told, max", number, max(ages), "s"))
            worst = max(gaps)
            table.add(
                Row(PART, "Lease: longest time between renewals", number, worst, "s", LEASE_DURATION / 2)
            )
            table.add(Row(PART, "memory at its peak", number, process.memory_mib("VmHWM"), "MiB"))


async def _started(api: Api, table: Table, number: int) -> None:
    """Until all run and have told something; from each container's start until its first progress is told."""
    async with watching.watcher(api, NAMESPACE, _telling) as tell:
        await create(api, NAMESPACE, names(0, number))
        await tell.until(number, seconds=120 + number)
    offset = time.time() - time.monotonic()
    waits = []
    async for pod in api.items(collection(NAMESPACE, "pods")):
        began = datetime.fromisoformat(pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"])
        told = tell.at[pod["metadata"]["labels"]["speechless.dev/name"]] + offset
        waits.append(max(0.0, told - began.timestamp()))
    note = "container started to first progress told"
    table.add(Row(PART, "first progress, p50", number, percentile(waits, 50), "s", note=note))
    table.add(Row(PART, "first progress, p99", number, percentile(waits, 99), "s", TOLD, note))


@contextmanager
def _answering(place: Stand) -> Iterator[float]:
    """A server at the addresses of kwok's pods; the time at which its clock began."""
    log = place.folder / "pods.log"
    place.cluster.run(*inside(INSTANCE), "ip", "route", "add", "local", kwok.PODS, "dev", "lo")
    argv = [*inside(INSTANCE), sys.executable, "-m", "benchmarks.operator.pods"]
    with running(argv, log, lambda: "began" in log.read_text()):
        yield float(log.read_text().split()[1])


@asynccontextmanager
async def renewals(api: Api) -> AsyncIterator[list[float]]:
    """Seconds between two renewals of the operator's Lease, as its own times have them, until the block ends."""
    gaps: list[float] = []

    async def follow() -> None:
        last: datetime | None = None
        async for event in api.watch(LEASES, await api.version(LEASES)):
            obj = event["object"]
            if obj["metadata"]["name"].startswith("speechless"):
                now = datetime.fromisoformat(obj["spec"]["renewTime"])
                if last:
                    gaps.append((now - last).total_seconds())
                last = now

    task = asyncio.create_task(follow())
    try:
        yield gaps
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
