"""llama-server: llama.cpp's own HTTP server, started on a free loopback port and ended again."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.generate.base import Completion, Message, Sampling, ignore_progress, never
from speechless.generate.http import NoAnswerError, ask
from speechless.generate.llamacpp.tools import stop_process, tail, thread_flags
from speechless.models.gguf import read_header

START_SECONDS = 600
"""A large model on a slow disk takes minutes to load."""
ANSWER_SECONDS = 3600
"""For one completion: only a server that hangs takes longer."""


def server_argv(
    program: Sequence[str],
    model: Path,
    *,
    alias: str,
    host: str,
    port: int,
    parallel: int,
    context_length: int | None,
    metrics: bool,
) -> list[str]:
    """The command that serves a model. `context_length` is a request's: llama-server divides its own by its slots.

    `program`: see `find_server`.
    """
    argv = [*program, "--model", str(model), "--alias", alias, "--host", host, "--port", str(port)]
    argv += ["--parallel", str(parallel), *thread_flags()]
    # Unset, the slots share the context that the model was trained for; it is not multiplied, which could be huge.
    argv += ["--kv-unified"] if context_length is None else ["--ctx-size", str(context_length * parallel)]
    return argv + (["--metrics"] if metrics else [])


class LlamaServer:
    """A GGUF file behind llama-server, for as long as the context lasts."""

    name = "llama-server"

    def __init__(
        self, model: Path, *, program: Sequence[str], parallel: int = 1, context_length: int | None = None
    ) -> None:
        """Remember what to start: `parallel` slots of `context_length` tokens each. `program`: see `find_server`."""
        self.model = model
        self.program = list(program)
        self.parallel = parallel
        own = read_header(model).context_length
        known = [limit for limit in (context_length, own) if limit]
        self.context_length = min(known, default=None)
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._url = ""

    @property
    def versions(self) -> dict[str, str]:
        """llama.cpp's build number and commit."""
        answer = subprocess.run(
            [*self.program, "--version"], capture_output=True, text=True, check=False, timeout=60
        )
        lines = (answer.stderr + answer.stdout).splitlines()
        version = next(
            (line.partition(":")[2].strip() for line in lines if line.startswith("version:")), "unknown"
        )
        return {"llama.cpp": version}

    def __enter__(self) -> Self:
        """Start the server and wait until it is healthy."""
        port = free_port()
        self._log = tempfile.TemporaryFile(prefix="speechless-llama-server-")
        argv = server_argv(
            self.program,
            self.model,
            alias="model",
            host="127.0.0.1",
            port=port,
            parallel=self.parallel,
            context_length=self.context_length,
            metrics=False,
        )
        self._process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT
        )
        self._url = f"http://127.0.0.1:{port}"
        try:
            self._wait_until_healthy()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the server."""
        if self._process is not None:
            stop_process(self._process)
        if self._log is not None:
            self._log.close()
        self._process = self._log = None

    def complete(
        self,
        prompts: Sequence[str],
        sampling: Sampling,
        *,
        progress: Callable[[int], None] = ignore_progress,
        stopping: Callable[[], bool] = never,
    ) -> list[Completion]:
        """See `Generator.complete`. As many requests at a time as there are slots."""
        return self._map(
            lambda prompt, index: self._ask(prompt, sampling, index), prompts, progress, stopping
        )

    def chat(
        self,
        conversations: Sequence[Sequence[Message]],
        sampling: Sampling,
        *,
        progress: Callable[[int], None] = ignore_progress,
        stopping: Callable[[], bool] = never,
    ) -> list[Completion]:
        """See `Generator.chat`: the template is the one in the GGUF file."""
        prompts = [self._template(messages) for messages in conversations]
        return self.complete(prompts, sampling, progress=progress, stopping=stopping)

    def tokenize(self, text: str, *, parse_special: bool = True) -> list[int]:
        """Token ids, with those that the model's tokenizer adds by itself. `parse_special`: `</s>` is one token."""
        answer = self._post(
            "/tokenize", {"content": text, "add_special": True, "parse_special": parse_special}
        )
        ids: list[int] = answer["tokens"]
        return ids

    def _template(self, messages: Sequence[Message]) -> str:
        prompt: str = self._post("/apply-template", {"messages": list(messages)})["prompt"]
        return prompt

    def _map(
        self,
        ask: Callable[[str, int], Completion],
        prompts: Sequence[str],
        progress: Callable[[int], None],
        stopping: Callable[[], bool],
    ) -> list[Completion]:
        with ThreadPoolExecutor(self.parallel, thread_name_prefix="llama-server") as executor:
            futures = [executor.submit(ask, prompt, index) for index, prompt in enumerate(prompts)]
            waiting = set(futures)
            while waiting:
                done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                failed = next((future for future in done if future.exception() is not None), None)
                if stopping() or failed is not None:
                    executor.shutdown(wait=False, cancel_futures=True)
                    self.__exit__(None, None, None)  # ends the requests that are under way, too
                    if failed is not None:
                        failed.result()
                    count = len(futures) - len(waiting)
                    raise StageError(
                        FailureReason.INTERRUPTED, f"interrupted after {count} of {len(futures)} prompts"
                    )
                progress(len(futures) - len(waiting))
        return [future.result() for future in futures]

    def _ask(self, prompt: str, sampling: Sampling, index: int) -> Completion:
        """One request to /completion. Every sampler but temperature and top-p is switched off."""
        body: dict[str, Any] = {
            "prompt": prompt,
            "n_predict": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "samplers": ["top_p", "temperature"],
            "seed": (sampling.seed + index) % 2**32,
            "stop": list(sampling.stop),
            # A prompt's cached part is computed in other batches than a whole one, and may round differently.
            "cache_prompt": False,
        }
        answer = self._post("/completion", body, full_is_none=True)
        if answer is None:
            return Completion("", len(self.tokenize(prompt)), 0, "length")
        stopped = answer["stop_type"] in {"eos", "word"}
        return Completion(
            answer["content"],
            answer["tokens_evaluated"],
            answer["tokens_predicted"],
            "stop" if stopped else "length",
        )

    def _post(self, route: str, body: dict[str, Any], *, full_is_none: bool = False) -> Any:
        """An answer's JSON; `full_is_none`: None where the prompt does not fit the context."""
        if self._process is None:
            raise RuntimeError("llama-server is not running: enter the context first")
        try:
            status, text = ask(self._url + route, body, timeout=ANSWER_SECONDS, direct=True)
        except NoAnswerError as problem:
            raise self._broken(f"llama-server did not answer {route}: {problem}") from problem
        if status == HTTPStatus.OK:
            return json.loads(text)
        if full_is_none and "exceed_context_size" in text:
            return None
        raise self._broken(f"llama-server answered {route} with {status}: {text[:500]}")

    def _wait_until_healthy(self) -> None:
        if self._process is None:
            raise RuntimeError("llama-server was not started")
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise self._broken(
                    f"{self.model}: llama-server ended with exit status {self._process.returncode}"
                )
            try:
                if ask(f"{self._url}/health", timeout=5, direct=True)[0] == HTTPStatus.OK:
                    return
            except NoAnswerError:
                pass  # not listening yet; the process is looked at above
            time.sleep(0.1)
        raise self._broken(f"{self.model}: llama-server was not ready in {START_SECONDS} s")

    def _broken(self, message: str) -> StageError:
        """The error with the end of the server's log."""
        log = ""
        if self._log is not None:
            self._log.seek(0)
            log = tail(self._log.read().decode(errors="replace"))
        return StageError(
            FailureReason.MODEL_INVALID, f"{message}\n{log}".rstrip(), "The last lines are its own log."
        )


PORTS = range(20_000, 30_000)
"""Below the ports that the kernel gives to outgoing connections, on Linux 32768 and up: one of those may be taken
again by a connection before the server listens on it."""


def free_port() -> int:
    """A port of the loopback that nobody listens on now.

    Raises:
        StageError: All of `PORTS` are in use.
    """
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise StageError(
        FailureReason.INTERNAL_ERROR, f"ports {PORTS.start} to {PORTS.stop - 1} of 127.0.0.1 are all in use"
    )
