"""Run programs in the sandbox: one, or many at a time with one worker a core."""

import contextlib
import marshal
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path
from typing import Any

from speechless.contract import FailureReason
from speechless.cpus import usable_cpus
from speechless.errors import StageError
from speechless.eval.sandbox import kernel
from speechless.eval.sandbox.model import Isolation, Limits, Outcome, Verdict

SUPERVISOR = Path(__file__).with_name("supervisor.py")

GRACE_SECONDS = 15
"""How much later than the supervisor's own clock this process gives a sample up."""


def probe() -> Isolation:
    """What can hold a sample on this machine, found out by trying."""
    with tempfile.TemporaryDirectory(prefix="speechless-probe-") as folder:
        return Isolation(**_supervise({"probe": True, "folder": folder}, folder, GRACE_SECONDS, None))


def run(program: str, limits: Limits, isolation: Isolation, live: "_Live | None" = None) -> Outcome:
    """Run one program to its end. A program that ends without the token has failed, whatever its exit status."""
    with tempfile.TemporaryDirectory(prefix="speechless-sample-") as folder:
        job = {
            "program": program,
            "token": secrets.token_hex(32),
            "folder": folder,
            "limits": {**asdict(limits), "wall_seconds": limits.wall_seconds},
            "isolation": isolation.as_dict(),
        }
        answer = _supervise(job, folder, limits.wall_seconds + GRACE_SECONDS, live)
    return Outcome(Verdict(answer["verdict"]), answer["result"])


def run_all(
    programs: Sequence[str],
    limits: Limits,
    isolation: Isolation,
    *,
    workers: int | None = None,
    progress: Callable[[int], None] = lambda _done: None,
    stopping: Callable[[], bool] = lambda: False,
) -> list[Outcome]:
    """Run programs side by side (default: as many as there are cores); outcomes in the programs' order.

    `progress` gets the number done after each; `stopping` is asked all along, and True ends it with `INTERRUPTED`.
    """
    live = _Live()
    with undumpable(), ThreadPoolExecutor(workers or usable_cpus(), thread_name_prefix="sandbox") as executor:
        futures: list[Future[Outcome]] = [
            executor.submit(run, program, limits, isolation, live) for program in programs
        ]
        waiting = set(futures)
        try:
            while waiting:
                if stopping():
                    raise StageError(
                        FailureReason.INTERRUPTED,
                        f"interrupted after {len(futures) - len(waiting)} of {len(futures)} samples",
                    )
                done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                progress(len(futures) - len(waiting))
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            live.kill()
            raise
        return [future.result() for future in futures]


@contextlib.contextmanager
def undumpable() -> Iterator[None]:
    """Keep other processes of the same user from reading this one's memory and environment (prctl(2))."""
    before = kernel.prctl(kernel.PR_GET_DUMPABLE)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    try:
        yield
    finally:
        kernel.prctl(kernel.PR_SET_DUMPABLE, before if before in {0, 1} else 1)


class _Live:
    """The supervisors that run now, so that all can be ended at once."""

    def __init__(self) -> None:
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._ended = False

    def add(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._processes.add(process)
            if self._ended:
                process.kill()

    def remove(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._processes.discard(process)

    def kill(self) -> None:
        """A sample dies with its supervisor (PR_SET_PDEATHSIG)."""
        with self._lock:
            self._ended = True
            for process in self._processes:
                process.kill()


def _supervise(job: dict[str, Any], folder: str, seconds: float, live: _Live | None) -> dict[str, Any]:
    """Run the supervisor on a job and return its answer; an answer that is none is an error of the sandbox."""
    # -P, -s and an environment made here are what -I means; but -I would also ignore PYTHONHASHSEED, without which
    # the order of a set, and with it a score, differs from run to run.
    argv = [sys.executable, "-P", "-s", "-B", "-X", "utf8", str(SUPERVISOR)]
    environment = {"HOME": folder, "TMPDIR": folder, "PYTHONHASHSEED": "0"}
    environment |= {"LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=folder,
        start_new_session=True,
    ) as process:
        if live is not None:
            live.add(process)
        try:
            answer, errors = process.communicate(marshal.dumps(job), timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return {"verdict": Verdict.TIMED_OUT.value, "result": "timed out"}
        finally:
            if live is not None:
                live.remove(process)
    if process.returncode == -signal.SIGKILL:
        # Nothing but the sample (where seccomp does not hold it), the kernel for memory or `_Live.kill` does that.
        return {"verdict": Verdict.FAILED.value, "result": "failed: its supervisor was killed"}
    if process.returncode != 0 or errors:
        text = errors.decode(errors="replace").strip()
        raise RuntimeError(f"the sandbox failed with exit status {process.returncode}: {text[-2000:]}")
    # The supervisor's own words: the sample has no access to this pipe.
    parsed: dict[str, Any] = marshal.loads(answer)
    return parsed
