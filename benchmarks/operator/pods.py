"""Answers for all pods that kwok plays: GET /progress on port 9400, at whatever address it was asked.

Runs in the instance's network namespace, which takes kwok's addresses for its own (`ip route add local`). How far a
stage says it is follows from the clock: its step is the seconds since this server began, so that a told progress says
how old it is.
"""

from __future__ import annotations

import time

from aiohttp import web

from speechless.contract import Progress

PORT = 9400
TOTAL = 100_000


def main() -> None:
    """Serve until killed."""
    began = time.time()
    print(f"began {began}", flush=True)

    async def progress(_: web.Request) -> web.Response:
        step = int(time.time() - began)
        told = Progress.model_validate(
            {"phase": "Working", "percent": 100 * step / TOTAL, "step": step, "totalSteps": TOTAL}
        )
        return web.Response(text=told.to_json(), content_type="application/json")

    app = web.Application()
    app.router.add_get("/progress", progress)
    web.run_app(app, host="0.0.0.0", port=PORT, print=None, access_log=None)


if __name__ == "__main__":
    main()
