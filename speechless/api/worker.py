"""Run an engine, which blocks, beside the event loop: so many requests at a time, the others wait in turn."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from speechless.api.metrics import Metrics
from speechless.generate import Completion, Message, Sampling


class Engine(Protocol):
    """A loaded model that can be asked for one completion at a time (speechless.generate's back ends)."""

    @property
    def context_length(self) -> int | None:
        """Tokens of prompt and completion together; None: no limit is known."""

    @property
    def vocabulary_size(self) -> int:
        """Token ids are below it."""

    def encode(self, prompt: str) -> list[int]:
        """Token ids of a prompt."""

    def encode_chat(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a conversation, by the model's chat template."""

    def stream(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        deliver: Callable[[str], None],
        stopping: Callable[[], bool],
    ) -> Completion:
        """Complete one prompt; see `HuggingFace.stream`."""


class Worker:
    """The threads that generate."""

    def __init__(self, engine: Engine, metrics: Metrics, *, parallel: int) -> None:
        """`parallel`: completions at the same time."""
        self.engine = engine
        self.metrics = metrics
        self._turns = asyncio.Semaphore(parallel)
        self._threads = ThreadPoolExecutor(parallel, thread_name_prefix="generate")

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling, *, arrived: float
    ) -> AsyncGenerator[str | Completion, None]:
        """Pieces of text as they come, and the completion at the end. Closing the iterator ends the generation."""
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[str | None] = asyncio.Queue()
        given_up = threading.Event()

        def deliver(piece: str | None) -> None:
            # The loop is closed when the server was stopped in the middle: nobody listens any more.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(pieces.put_nowait, piece)

        def work() -> Completion:
            try:
                return self.engine.stream(prompt, sampling, deliver, given_up.is_set)
            finally:
                deliver(None)

        self.metrics.waiting.inc()
        try:
            await self._turns.acquire()
        finally:
            self.metrics.waiting.dec()
        self.metrics.running.inc()
        running = loop.run_in_executor(self._threads, work)
        first = True
        try:
            while (piece := await pieces.get()) is not None:
                if first:
                    self.metrics.first_token.observe(time.monotonic() - arrived)
                    first = False
                yield piece
            completion = await running
            self.metrics.prompt_tokens.inc(completion.prompt_tokens)
            self.metrics.generation_tokens.inc(completion.completion_tokens)
            yield completion
        finally:
            given_up.set()
            self.metrics.running.dec()
            if running.done():
                self._turns.release()
            else:
                running.add_done_callback(lambda _done: self._turns.release())

    def close(self) -> None:
        """Wait for what still generates."""
        self._threads.shutdown(wait=True, cancel_futures=True)
