"""/livez, /readyz and /metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from speechless_operator.api.kinds import KINDS
from speechless_operator.plan.conditions import Phase
from speechless_operator.runtime.cache import Cache
from speechless_operator.runtime.metrics import REGISTRY

Check = Callable[[], list[str]]
"""Returns what is wrong, a line each."""


class ResourceCollector(Collector):
    """Figures of the resources themselves, read from the cache when they are asked for. Empty on a standby."""

    def __init__(self, cache: Cache, leading: Callable[[], bool]) -> None:
        """Read from `cache`."""
        self._cache, self._leading = cache, leading

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Resources by kind and phase, and what evaluations scored."""
        phases = GaugeMetricFamily(
            "speechless_resources", "Resources by kind and phase", labels=["kind", "phase"]
        )
        scores = GaugeMetricFamily(
            "speechless_evaluation_score",
            "What an Evaluation measured",
            labels=["namespace", "name", "metric"],
        )
        if self._leading():
            for name in KINDS:
                count = Counter(
                    str(obj.get("status", {}).get("phase", "New")) for obj in self._cache.of_kind(name)
                )
                for phase in ("New", *(phase.value for phase in Phase)):
                    if count[phase]:
                        phases.add_metric([name, phase], count[phase])
            for obj in self._cache.of_kind("Evaluation"):
                meta = obj["metadata"]
                for metric in obj.get("status", {}).get("metrics", []):
                    scores.add_metric([meta["namespace"], meta["name"], metric["name"]], metric["value"])
        yield phases
        yield scores


class Health:
    """The HTTP server of the three."""

    def __init__(self, listen: str, *, live: Check, ready: Check, before_metrics: Callable[[], None]) -> None:
        """Listen on `host:port`."""
        host, _, port = listen.rpartition(":")
        self._host, self._port = host.strip("[]") or None, int(port)
        self._live, self._ready, self._before = live, ready, before_metrics
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Begin to answer."""
        app = web.Application()
        app.router.add_get("/livez", lambda _: _answer(self._live()))
        app.router.add_get("/readyz", lambda _: _answer(self._ready()))
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()

    async def stop(self) -> None:
        """Answer no more."""
        if self._runner:
            await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        self._before()
        return web.Response(body=generate_latest(REGISTRY), content_type="text/plain", charset="utf-8")


async def _answer(problems: list[str]) -> web.Response:
    return web.Response(status=503 if problems else 200, text="\n".join(problems or ["ok"]) + "\n")
