"""Asks running stages how far they are and writes it to status.progress, under a field manager of its own."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import aiohttp
from pydantic import ValidationError

from speechless.contract import Progress
from speechless.contract.progress import PORT
from speechless_operator.api.kinds import KINDS
from speechless_operator.desired.objects import LABEL_KIND, LABEL_NAME, LABEL_UID, Object
from speechless_operator.runtime.cache import Cache
from speechless_operator.runtime.client import PROGRESS_MANAGER, ApiError, KubeClient
from speechless_operator.runtime.resources import WATCHED

EVERY = 3.0
"""Between two looks at the same pod."""
AT_MOST_EVERY = 10.0
"""Between two writes to the same resource: each is a write to etcd, and an event to everybody who watches."""
_TIMEOUT = 3.0
_AT_ONCE = 16
_LIMIT = 16_384
MAX_METRICS = 32
_log = logging.getLogger(__name__)

Fetch = Callable[[Object], Awaitable[str]]


class Poller:
    """Looks at every running stage pod, on the leader."""

    def __init__(
        self, client: KubeClient, cache: Cache, *, keep: Callable[[Object], None], proxy: bool
    ) -> None:
        """`proxy`: through the API server, for an operator that is not on the pods' network."""
        self._client, self._cache, self._keep, self._proxy = client, cache, keep, proxy
        self._written: dict[str, float] = {}
        self._limit = asyncio.Semaphore(_AT_ONCE)

    async def run(self) -> None:
        """Until cancelled."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT)) as session:
            fetch: Fetch = self._through_server if self._proxy else lambda pod: _directly(session, pod)
            while True:
                began = time.monotonic()
                pods = [pod for pod in self._cache.of_kind("Pod") if _polled(pod)]
                alive = {pod["metadata"]["labels"][LABEL_UID] for pod in pods}
                self._written = {uid: at for uid, at in self._written.items() if uid in alive}
                await asyncio.gather(*(self._one(pod, fetch) for pod in pods))
                await asyncio.sleep(max(0.5, EVERY - (time.monotonic() - began)))

    async def _one(self, pod: Object, fetch: Fetch) -> None:
        labels, meta = pod["metadata"]["labels"], pod["metadata"]
        if time.monotonic() - self._written.get(labels[LABEL_UID], 0) < AT_MOST_EVERY:
            return
        try:
            async with self._limit:
                told = Progress.model_validate_json(await fetch(pod))
        except (aiohttp.ClientError, TimeoutError, ApiError, ValidationError) as error:
            # Not listening yet, or gone: the next look tells. Progress is news, not state.
            _log.debug("progress of pod %s/%s: %s", meta["namespace"], meta["name"], error)
            return
        obj = self._cache.get((labels[LABEL_KIND], meta["namespace"], labels[LABEL_NAME]))
        if obj is None or obj["metadata"]["uid"] != labels[LABEL_UID] or _ended(obj):
            return
        status = as_status(told)
        if obj.get("status", {}).get("progress") == status:
            return
        try:
            self._keep(await self._client.apply_status(obj, {"progress": status}, PROGRESS_MANAGER))
        except ApiError as error:
            # 409: the status was just written; the next look tries again with the newer object.
            _log.debug("progress of %s %s: %s", obj["kind"], obj["metadata"]["name"], error)
            return
        self._written[labels[LABEL_UID]] = time.monotonic()

    async def _through_server(self, pod: Object) -> str:
        meta = pod["metadata"]
        return await self._client.raw(
            f"{WATCHED['Pod'].path(meta['namespace'], meta['name'])}:{PORT}/proxy/progress"
        )


async def _directly(session: aiohttp.ClientSession, pod: Object) -> str:
    address = pod["status"]["podIP"]
    host = f"[{address}]" if ":" in address else address
    # A pod runs what a user chose: it sends the operator nowhere else.
    async with session.get(f"http://{host}:{PORT}/progress", allow_redirects=False) as answer:
        answer.raise_for_status()
        # Nor is more read of it than a progress has.
        return (await answer.content.read(_LIMIT)).decode(errors="replace")


def _polled(pod: Object) -> bool:
    status, labels = pod.get("status", {}), pod["metadata"].get("labels", {})
    kind = KINDS.get(labels.get(LABEL_KIND, ""))
    running = (
        status.get("phase") == "Running"
        and status.get("podIP")
        and "deletionTimestamp" not in pod["metadata"]
    )
    return bool(running and kind is not None and kind.is_job)


def _ended(obj: Object) -> bool:
    return any(c["type"] in ("Succeeded", "Failed") for c in obj.get("status", {}).get("conditions", []))


def as_status(told: Progress) -> Object:
    """As status.progress has it."""
    percent = int(told.percent)
    made: Object = {
        "phase": told.phase.value,
        "percent": percent,
        "step": told.step,
        "summary": summary(told),
    }
    if told.total_steps:
        made["totalSteps"] = told.total_steps
    if told.remaining_seconds is not None:
        made["remainingSeconds"] = told.remaining_seconds
    if told.message:
        made["message"] = told.message[:256]
    found = {metric.name: metric.value for metric in told.metrics if metric.value - metric.value == 0}
    if found:
        made["metrics"] = [{"name": n, "value": v} for n, v in list(found.items())[:MAX_METRICS]]
    return made


def summary(told: Progress) -> str:
    """One line for `kubectl get`: `42% 120/300 ~80s`, or the phase while no step is known."""
    if not told.total_steps:
        return told.phase.value
    left = f" ~{told.remaining_seconds}s" if told.remaining_seconds else ""
    return f"{int(told.percent)}% {told.step}/{told.total_steps}{left}"
