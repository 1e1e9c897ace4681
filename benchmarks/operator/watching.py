"""Seeing how far the FineTunes of a namespace are, by a watch of our own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from benchmarks.operator.api import Api, Object, collection

Predicate = Callable[[Object], bool]


def condition(obj: Object, kind: str) -> Object:
    """A condition of an object; empty where it has none of that type."""
    conditions = obj.get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] == kind), {})


def started(obj: Object) -> bool:
    """Whether its first status is told: Starting, or what comes after it."""
    return condition(obj, "Ready").get("reason") in ("Starting", "Running", "Suspended", "Succeeded")


def runs(obj: Object) -> bool:
    """Whether it is said to run."""
    return condition(obj, "Ready").get("reason") == "Running"


def suspended(obj: Object) -> bool:
    """Whether it is said to be suspended."""
    return condition(obj, "Ready").get("reason") == "Suspended"


def failed(obj: Object) -> bool:
    """Whether it is said to have failed."""
    return condition(obj, "Failed").get("status") == "True"


def ended(obj: Object) -> bool:
    """Whether its end is told."""
    return condition(obj, "Succeeded").get("status") == "True" or failed(obj)


class Watcher:
    """When each FineTune first was what is waited for."""

    def __init__(self, api: Api, namespace: str, is_done: Predicate) -> None:
        """Watches nothing yet."""
        self._api, self._path, self._is_done = api, collection(namespace), is_done
        self.at: dict[str, float] = {}
        """Name to the time (`time.monotonic()`) at which it was seen so."""
        self.first: dict[str, Object] = {}
        """Name to the object as it was then."""
        self.latest: dict[str, Object] = {}
        self._changed = asyncio.Condition()

    async def run(self, version: str) -> None:
        """Follow the namespace until cancelled."""
        async for event in self._api.watch(self._path, version):
            obj = event["object"]
            name = obj["metadata"]["name"]
            async with self._changed:
                self.latest[name] = obj
                if name not in self.at and self._is_done(obj):
                    self.at[name] = time.monotonic()
                    self.first[name] = obj
                self._changed.notify_all()

    async def until(self, number: int, seconds: float) -> float:
        """Wait until so many are so; the time at which the last of them was.

        Raises:
            TimeoutError: It took longer; the message has how far they came.
        """
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(lambda: len(self.at) >= number)
        except TimeoutError:
            missing = [obj for name, obj in self.latest.items() if name not in self.at][:1]
            raise TimeoutError(
                f"{len(self.at)} of {number} after {seconds:.0f} s; one of the others: "
                f"{[each.get('status') for each in missing]}"
            ) from None
        return max(self.at.values())

    async def see(self, name: str, is_so: Predicate, seconds: float = 30) -> None:
        """Wait until one of them is so."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(lambda: name in self.latest and is_so(self.latest[name]))


@asynccontextmanager
async def watcher(api: Api, namespace: str, is_done: Predicate) -> AsyncIterator[Watcher]:
    """Watch a namespace's FineTunes from now on until the block ends."""
    made = Watcher(api, namespace, is_done)
    task = asyncio.create_task(made.run(await api.version(collection(namespace))))
    try:
        yield made
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def counted(api: Api, namespace: str, plural: str, number: int, seconds: float = 60) -> float:
    """Wait until a collection has so many objects; the time at which it was seen."""
    async with asyncio.timeout(seconds):
        while (found := await api.count(collection(namespace, plural))) < number:
            await asyncio.sleep(0.2 if number - found < 200 else 1)
    return time.monotonic()
