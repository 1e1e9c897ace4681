"""Leadership by a Lease: one replica works, the others know everything and wait.

The clock of another machine is never compared with this one's: a Lease is held by another as long as it changed within
its duration by this process' own monotonic clock (the rule of client-go's leaderelection).
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime

from speechless_operator.desired.objects import Object
from speechless_operator.runtime import metrics
from speechless_operator.runtime.client import ApiError, KubeClient
from speechless_operator.runtime.resources import LEASE

DURATION, RENEW_WITHIN, EVERY = 15.0, 10.0, 2.0
_log = logging.getLogger(__name__)


class LeaseLostError(Exception):
    """Another replica may lead by now: this process must end at once."""


class Elector:
    """Gets, keeps and gives back a Lease."""

    def __init__(self, client: KubeClient, *, namespace: str, name: str, identity: str) -> None:
        """`identity` tells this process from every other one, before and after."""
        self._client, self._namespace, self._name, self._identity = client, namespace, name, identity
        self._seen: tuple[object, ...] = ()
        self._seen_at = time.monotonic()
        self.leading = False

    async def acquire(self) -> None:
        """Return when this process is the leader."""
        while not await self._try():
            await asyncio.sleep(EVERY)
        self.leading = True
        metrics.LEADER.set(1)
        _log.info("leading: Lease %s/%s held by %s", self._namespace, self._name, self._identity)

    async def keep(self) -> None:
        """Renew until it cannot be renewed.

        Raises:
            LeaseLostError: It was not renewed in time, or another one has it.
        """
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(EVERY)
            try:
                held = await asyncio.wait_for(
                    self._try(), max(0.1, renewed + RENEW_WITHIN - time.monotonic())
                )
            except TimeoutError:
                held = False
            if held:
                renewed = time.monotonic()
            elif self._other_holds() or time.monotonic() - renewed >= RENEW_WITHIN:
                self.leading = False
                metrics.LEADER.set(0)
                raise LeaseLostError(f"Lease {self._namespace}/{self._name} was lost")

    async def release(self) -> None:
        """Give it back, so that another replica need not wait for its end."""
        if not self.leading:
            return
        self.leading = False
        metrics.LEADER.set(0)
        try:
            lease = await self._client.get(LEASE, self._namespace, self._name)
            if lease["spec"].get("holderIdentity") == self._identity:
                lease["spec"]["holderIdentity"] = ""
                await self._client.replace(LEASE, self._namespace, lease)
                _log.info("Lease %s/%s released", self._namespace, self._name)
        except ApiError as error:
            _log.warning("Lease %s/%s could not be released: %s", self._namespace, self._name, error)

    async def _try(self) -> bool:
        """Make, take or renew it; whether it is held now."""
        try:
            try:
                lease = await self._client.get(LEASE, self._namespace, self._name)
            except ApiError as error:
                if error.code != 404:
                    raise
                await self._client.create(LEASE, self._namespace, self._lease(None))
                return True
            if not self._mine_to_take(lease):
                return False
            await self._client.replace(LEASE, self._namespace, self._lease(lease))
        except ApiError as error:
            # 409: another one was faster.
            if error.code != 409:
                _log.warning("Lease %s/%s: %s", self._namespace, self._name, error)
            return False
        return True

    def _mine_to_take(self, lease: Object) -> bool:
        spec = lease["spec"]
        seen = (spec.get("holderIdentity"), spec.get("renewTime"), spec.get("leaseTransitions"))
        if seen != self._seen:
            self._seen, self._seen_at = seen, time.monotonic()
        if spec.get("holderIdentity") in (self._identity, "", None):
            return True
        return time.monotonic() - self._seen_at > float(spec.get("leaseDurationSeconds", DURATION))

    def _other_holds(self) -> bool:
        return bool(self._seen) and self._seen[0] not in (self._identity, "", None)

    def _lease(self, known: Object | None) -> Object:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        before = known["spec"] if known else {}
        mine = before.get("holderIdentity") == self._identity
        made: Object = {
            "apiVersion": LEASE.api_version,
            "kind": "Lease",
            "metadata": known["metadata"] if known else {"name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": int(DURATION),
                "renewTime": now,
                "acquireTime": before.get("acquireTime", now) if mine else now,
                "leaseTransitions": before.get("leaseTransitions", -1) + (0 if mine else 1),
            },
        }
        return made
