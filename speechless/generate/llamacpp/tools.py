"""Find and run llama.cpp's own programs: llama-server, llama-quantize, llama-perplexity."""

import collections
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from speechless.contract import FailureReason
from speechless.cpus import limited_cpus
from speechless.errors import StageError
from speechless.generate.llamacpp import wheel

BIN_VARIABLE = "SPEECHLESS_LLAMA_BIN"
TAIL_LINES = 30
"""Lines of a tool's output that are kept for an error's message."""


def find_tool(name: str) -> Path | None:
    """The program, in the folder that SPEECHLESS_LLAMA_BIN names or else on the PATH; None: not installed."""
    folder = os.environ.get(BIN_VARIABLE)
    if folder:
        program = Path(folder) / name
        if os.access(program, os.X_OK) and program.is_file():
            return program
        raise StageError(
            FailureReason.INPUT_NOT_FOUND,
            f"{BIN_VARIABLE}={folder}: no program {name} in this folder",
            f"Unset {BIN_VARIABLE} to look on the PATH.",
        )
    found = shutil.which(name)
    return Path(found) if found else None


def find_server() -> list[str]:
    """How to start llama-server: the program, or else the one in the wheel xllamacpp.

    `StageError` where neither is installed.
    """
    program = find_tool("llama-server")
    if program is not None:
        return [str(program)]
    if wheel.installed():
        return [sys.executable, "-m", wheel.MODULE]
    raise StageError(
        FailureReason.INPUT_NOT_FOUND,
        "neither llama.cpp's llama-server nor the package xllamacpp is installed",
        "pip install 'speechless-llm[serve]' brings xllamacpp; or put llama-server on the PATH, or its folder into "
        f"{BIN_VARIABLE}.",
    )


def thread_flags() -> list[str]:
    """`--threads N` where this process may use fewer CPUs than the machine has, which llama.cpp counts."""
    cpus = limited_cpus()
    return [] if cpus is None else ["--threads", str(cpus)]


def run_tool(
    argv: Sequence[str | Path],
    *,
    on_output: Callable[[str], None] = lambda _text: None,
    stopping: Callable[[], bool] = lambda: False,
    environment: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Run a program to its end; its exit status and its output, standard error mixed in.

    `on_output` gets the output as it comes, in pieces that may end within a line. `StageError` of reason `INTERRUPTED`
    when `stopping` turns True: the program is ended first.
    """
    with _running(argv, environment) as (process, output):
        text: list[str] = []
        while True:
            ended = process.poll() is not None
            piece = output.read().decode(errors="replace")
            if piece:
                text.append(piece)
                on_output(piece)
            if ended:
                return process.returncode, "".join(text)
            if stopping():
                stop_process(process)
                raise StageError(FailureReason.INTERRUPTED, f"{Path(argv[0]).name} was interrupted")
            time.sleep(0.05)


@contextlib.contextmanager
def _running(
    argv: Sequence[str | Path], environment: Mapping[str, str] | None
) -> Iterator[tuple["subprocess.Popen[bytes]", IO[bytes]]]:
    """Start a program that writes to a file: unlike a pipe, it never fills up and never blocks the reader."""
    with (
        tempfile.NamedTemporaryFile(prefix="speechless-tool-") as written,
        open(written.name, "rb") as output,
        subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
            env=None if environment is None else dict(environment),
        ) as process,
    ):
        try:
            yield process, output
        finally:
            stop_process(process)


def stop_process(process: "subprocess.Popen[bytes]", seconds: float = 10) -> None:
    """End a process that may have ended already: SIGTERM, and SIGKILL when that does not help in time."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def tail(text: str, lines: int = TAIL_LINES) -> str:
    """The last lines of a tool's output."""
    return "\n".join(collections.deque(text.splitlines(), maxlen=lines))
