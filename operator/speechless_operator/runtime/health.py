"""/livez, /readyz and /metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from speechless_operator.runtime.metrics import REGISTRY
from speechless_operator.runtime.tally import MAX_EVALUATIONS, MAX_SCORES, Tally

Check = Callable[[], list[str]]
"""Returns what is wrong, a line each."""


class ResourceCollector(Collector):
    """Figures of the resources themselves. Empty on a standby."""

    def __init__(self, tally: Tally, leading: Callable[[], bool]) -> None:
        """Read from `tally`, which the cache keeps."""
        self._tally, self._leading = tally, leading

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Resources by kind and phase, and what evaluations scored."""
        phases = GaugeMetricFamily(
            "speechless_resources", "Resources by kind and phase", labels=["kind", "phase"]
        )
        scores = GaugeMetricFamily(
            "speechless_evaluation_score",
            f"What an Evaluation measured: the first {MAX_SCORES} metrics of the newest {MAX_EVALUATIONS} Evaluations",
            labels=["namespace", "name", "metric"],
        )
        if self._leading():
            for labels, number in sorted(self._tally.phases.items()):
                if number:
                    phases.add_metric(list(labels), number)
            for *named, value in self._tally.scores():
                scores.add_metric(named, value)
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
