"""All watches together: who listens to which kind, and whether everything was seen once.

Reflectors listen to the four kinds and to their children. Where kopf is wanted, it listens to the four kinds, which are
listed once beside it so that a start need not wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from speechless_operator.runtime.client import KubeClient
from speechless_operator.runtime.intake import Intake
from speechless_operator.runtime.reflector import Reflector
from speechless_operator.runtime.resources import CHILDREN, OURS
from speechless_operator.runtime.supervise import supervised

ABOVE = ("Job", "Deployment")
"""Listed before the other children: what belongs to them is known by them."""
QUIET_SECONDS = 5.0


class Source(Protocol):
    """Something that watches the four kinds."""

    def start(self) -> None:
        """Begin to listen."""

    def stop(self) -> None:
        """End the watches."""

    def restart(self) -> None:
        """Begin new watches: these are deaf."""

    def silent_seconds(self) -> float:
        """How long its loop has not turned."""

    def quiet_seconds(self) -> float:
        """How long nothing was heard."""


class Ears:
    """Everything that listens."""

    def __init__(
        self, client: KubeClient, intake: Intake, namespaces: Sequence[str], source: Source | None
    ) -> None:
        """`source` watches the four kinds; None: reflectors do."""
        spaces: tuple[str | None, ...] = tuple(namespaces) or (None,)
        self._source = source
        self.reflectors: dict[str, list[Reflector]] = {
            kind: [
                Reflector(client, resource, space, intake=intake, listen=source is None or kind not in OURS)
                for space in spaces
            ]
            for kind, resource in (OURS | CHILDREN).items()
        }
        self._refill = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            first = [kind for kind in self.reflectors if kind in OURS]
            second = [kind for kind in ABOVE if kind in self.reflectors]
            third = [kind for kind in self.reflectors if kind not in (*first, *second)]
            for kinds in (first, second, third):
                for reflector in self._of(kinds):
                    group.create_task(self._one(reflector))
                while not all(self._seen(kind) for kind in kinds):
                    await asyncio.sleep(0.02)

    async def _one(self, reflector: Reflector) -> None:
        name = f"watch {reflector.resource.plural}"
        while True:
            await supervised(name, reflector.run)
            # It has listed, and kopf watches. Listed again where kopf was found to be deaf.
            await self._refill.wait()
            self._refill.clear()

    def _of(self, kinds: Sequence[str]) -> list[Reflector]:
        return [reflector for kind in kinds for reflector in self.reflectors[kind]]

    # -- how far it is ------------------------------------------------------------------------------------------------

    def _seen(self, kind: str) -> bool:
        """Whether a kind was listed wherever it may be: one namespace that is gone or closed holds up nobody."""
        found = self.reflectors[kind]
        if found[0].resource.optional:
            return all(reflector.synced or reflector.refused for reflector in found)
        return any(reflector.synced for reflector in found) and all(
            reflector.synced or reflector.refused for reflector in found
        )

    def missing(self) -> list[str]:
        """What was not seen yet, a line each."""
        return [
            f"{reflector.name}: not listed yet"
            for kind, found in self.reflectors.items()
            if not self._seen(kind)
            for reflector in found
            if not reflector.synced
        ]

    def passed(self, reflector: Reflector, version: int) -> bool:
        """Whether whoever watches this has told all up to a version."""
        if self._source is None or reflector.resource.kind not in OURS:
            # One that is known to fail tells nothing: what a list shows is taken at once.
            return reflector.failing or reflector.passed(version)
        # kopf keeps bookmarks to itself: silence while something is missing is as good as having passed it.
        return self._source.quiet_seconds() >= QUIET_SECONDS

    def restart(self, kinds: set[str]) -> None:
        """Begin these watches anew: they missed something."""
        for reflector in self._of([kind for kind in self.reflectors if kind in kinds]):
            reflector.relist()
        if self._source is not None and kinds & set(OURS):
            self._source.restart()
            self._refill.set()
