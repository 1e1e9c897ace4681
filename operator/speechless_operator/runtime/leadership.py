"""The Lease in a thread of its own: however much the work's event loop has to do, a renewal does not wait for it.

With 5,000 pods that start at once on a busy machine, one turn of the work's loop was measured to take ten seconds, and
the Lease was lost while all went well. A loop that does not turn at all gives the Lease up: another replica works.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from speechless_operator.runtime.client import KubeClient
from speechless_operator.runtime.lease import DURATION, RENEW_WITHIN, Elector, LeaseLostError
from speechless_operator.runtime.supervise import supervised

_END_WITHIN = (DURATION - RENEW_WITHIN) / 2
"""Seconds that the work's loop has to end after the Lease was lost; another replica may take it twice as long after."""
_JOIN_SECONDS = 5.0
_log = logging.getLogger(__name__)
T = TypeVar("T")


class Leadership:
    """Gets, keeps and gives back the Lease, beside the event loop in which it was made."""

    def __init__(
        self,
        connect: Callable[[], KubeClient],
        *,
        namespace: str,
        name: str,
        identity: str,
        turns: Callable[[], bool],
        end: Callable[[int], object] = os._exit,
    ) -> None:
        """`connect` makes the client, in the thread; `turns` says whether the work's loop does; `end` the process."""
        self._connect, self._turns, self._end = connect, turns, end
        self._where = {"namespace": namespace, "name": name, "identity": identity}
        self._work = asyncio.get_running_loop()
        self._acquired: asyncio.Future[None] = self._work.create_future()
        self._lost: asyncio.Future[None] = self._work.create_future()
        self._own: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self.leading = False

    async def acquire(self) -> None:
        """Return when this process is the leader.

        Raises:
            LeaseLostError: The thread has ended before: a defect, which its log has.
        """
        if not self._thread.is_alive():
            self._thread.start()
        done, _ = await asyncio.wait([self._acquired, self._lost], return_when=asyncio.FIRST_COMPLETED)
        for future in done:
            future.result()

    async def keep(self) -> None:
        """Wait until the Lease is lost.

        Raises:
            LeaseLostError: It was not renewed in time, or another one has it. The process is ended soon after, too,
                by the thread, if whoever gets this cannot.
        """
        await asyncio.shield(self._lost)

    async def release(self) -> None:
        """Give the Lease back, so that another replica need not wait for its end."""
        self.leading = False
        self._ended.set()
        if not self._thread.is_alive():
            return
        if self._own is not None and not self._own.is_closed():
            self._own.call_soon_threadsafe(self._stop.set)
        await asyncio.to_thread(self._thread.join, _JOIN_SECONDS)

    # -- in the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except Exception as error:  # noqa: BLE001 - whatever it was, there is nobody left who renews
            self.leading = False
            if not isinstance(error, LeaseLostError):
                _log.exception("the Lease is not kept any more: a defect of the operator")
            lost = (
                error
                if isinstance(error, LeaseLostError)
                else LeaseLostError(f"{type(error).__name__}: {error}")
            )
            self._tell(self._lost.set_exception, lost)
            if not self._ended.wait(_END_WITHIN):
                _log.error("%s, and the work goes on: ended at once", lost)
                self._end(1)

    async def _live(self) -> None:
        self._own = asyncio.get_running_loop()
        if self._ended.is_set():  # before it began
            return
        client = self._connect()
        elector = Elector(client, **self._where)
        stop = asyncio.create_task(self._stop.wait())
        hold = asyncio.create_task(self._hold(elector))
        try:
            await asyncio.wait([stop, hold], return_when=asyncio.FIRST_COMPLETED)
            if hold.done():
                hold.result()
        finally:
            for task in (stop, hold):
                task.cancel()
            await asyncio.gather(stop, hold, return_exceptions=True)
            await elector.release()
            await client.close()

    async def _hold(self, elector: Elector) -> None:
        await supervised("lease", elector.acquire, delays=(1, 2))
        self.leading = True
        self._tell(self._acquired.set_result, None)
        keep = partial(elector.keep, self._turns)
        await supervised("lease", keep, fatal=(LeaseLostError,), delays=(0.5, 1))

    def _tell(self, what: Callable[[T], object], value: T) -> None:
        try:
            self._work.call_soon_threadsafe(what, value)
        except RuntimeError:  # the work's loop is closed: the process ends
            _log.info("the work has ended before the Lease")
