"""Leadership by a Lease: one replica works, the others know everything and wait.

The clock of another machine is never compared with this one's: a Lease is held by another as long as it changed within
its duration by this process' own monotonic clock (the rule of client-go's leaderelection).
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import sleep
from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic

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
        """`identity` tells this process from every other one, before and after; `client` is for nothing else."""
        self._client, self._namespace, self._name, self._identity = client, namespace, name, identity
        self._seen: tuple[object, ...] = ()
        self._seen_at = monotonic()
        self._told: object = None
        self._renewed = float("-inf")
        self.leading = False

    async def acquire(self) -> None:
        """Return when this process is the leader."""
        while not await self._try():
            await sleep(EVERY)
        self._renewed = monotonic()
        self.leading = True
        metrics.LEADER.set(1)
        _log.info("leading: Lease %s/%s held by %s", self._namespace, self._name, self._identity)

    async def keep(self, wanted: Callable[[], bool] = lambda: True) -> None:
        """Renew until it cannot be renewed, or is not `wanted` any more.

        Raises:
            LeaseLostError: It was not renewed in time, or another one has it.
        """
        while True:
            await sleep(EVERY)
            began = monotonic()
            try:
                left = max(0.1, self._renewed + RENEW_WITHIN - began)
                # Not wait_for: before Python 3.12 it may lose a cancellation, and this would go on for ever.
                async with asyncio.timeout(left):
                    held = wanted() and await self._try()
            except TimeoutError:
                held = False
            if held:
                self._renewed = began
            elif self._other_holds() or monotonic() - self._renewed >= RENEW_WITHIN:
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
            if _spec(lease).get("holderIdentity") == self._identity:
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
                self._tell_of(lease)
                return False
            await self._client.replace(LEASE, self._namespace, self._lease(lease))
        except ApiError as error:
            # 409: another one was faster.
            if error.code != 409:
                _log.warning("Lease %s/%s: %s", self._namespace, self._name, error)
            return False
        return True

    def _mine_to_take(self, lease: Object) -> bool:
        spec = _spec(lease)
        seen = (spec.get("holderIdentity"), spec.get("renewTime"), spec.get("leaseTransitions"))
        if seen != self._seen:
            self._seen, self._seen_at = seen, monotonic()
        if spec.get("holderIdentity") in (self._identity, "", None):
            return True
        return monotonic() - self._seen_at > float(spec.get("leaseDurationSeconds") or DURATION)

    def _tell_of(self, lease: Object) -> None:
        """Say who leads: once, and when it is another one. Two releases that share a Lease by mistake show here."""
        spec = _spec(lease)
        holder = spec.get("holderIdentity")
        if self.leading or holder == self._told:
            return
        self._told = holder
        _log.info(
            "standing by: Lease %s/%s is held by %s since %s; this replica (%s) works when that one stops",
            self._namespace, self._name, holder, spec.get("acquireTime", "an unknown time"), self._identity,
        )  # fmt: skip

    def _other_holds(self) -> bool:
        return bool(self._seen) and self._seen[0] not in (self._identity, "", None)

    def _lease(self, known: Object | None) -> Object:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        before = _spec(known) if known else {}
        mine = before.get("holderIdentity") == self._identity
        transitions = before.get("leaseTransitions")
        made: Object = {
            "apiVersion": LEASE.api_version,
            "kind": "Lease",
            "metadata": known["metadata"] if known else {"name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": int(DURATION),
                "renewTime": now,
                "acquireTime": before.get("acquireTime", now) if mine else now,
                "leaseTransitions": (-1 if transitions is None else transitions) + (0 if mine else 1),
            },
        }
        return made


def _spec(lease: Object) -> Object:
    """Somebody may have made the Lease by hand, without a spec."""
    found: Object = lease.get("spec") or {}
    return found
