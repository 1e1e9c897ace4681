"""Start the processes that train, show what they say, and keep the checkpoints that they write.

The first rank speaks over a socket (`channel.py`). This process has the stores and the signals; those have the model.
"""

import logging
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from speechless.contract import Failure, FailureReason
from speechless.cpus import usable_cpus
from speechless.errors import StageError
from speechless.finetune.channel import Channel
from speechless.finetune.job import Job, Outcome, Progress, Stopping
from speechless.store import Checkpoints

log = logging.getLogger(__name__)

WORKER = "speechless.finetune.worker"
_TORCHRUN = re.compile(
    r"(LOCAL_|GROUP_|ROLE_)?(RANK|WORLD_SIZE)|ROLE_NAME|GROUP_WORLD_SIZE|MASTER_(ADDR|PORT)|TORCHELASTIC_.*"
)
"""What torchrun sets. Task directories may start this program by it, as one process; the trainer is started by us."""
_LOOK_SECONDS = 0.2
"""How soon a request to stop is passed on."""
_END_SECONDS = 10.0
"""After the connection ended, until a process that trains is killed."""


class Training:
    """Processes that load their libraries while the caller reads the rows; `run` gives them the job.

    To be used with `with`: it leaves no process behind.
    """

    def __init__(self, folder: Path, ranks: int = 1) -> None:
        """Start them. `folder`: where the job is written; it is of this run alone. `ranks`: how many train together."""
        self._file = folder / "job.json"
        ours, theirs = socket.socketpair()
        self._channel = Channel(ours)
        environment = dict(os.environ)
        if ranks == 1:
            environment = {name: environment[name] for name in environment if not _TORCHRUN.fullmatch(name)}
            environment["CUDA_VISIBLE_DEVICES"] = _one_gpu(environment.get("CUDA_VISIBLE_DEVICES"))
        if ranks > 1:
            # torchrun would give each rank one thread, and what a command has settled is for one process.
            whole, each = str(usable_cpus()), str(max(1, usable_cpus() // ranks))
            if environment.get("OMP_NUM_THREADS", whole) == whole:
                environment["OMP_NUM_THREADS"] = each
        with theirs:
            # A session of its own: Ctrl-C is for this process, which tells the others.
            self._process = subprocess.Popen(
                _command(self._file, ranks), stdin=theirs, start_new_session=True, env=environment
            )

    def __enter__(self) -> "Training":
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def run(
        self,
        job: Job,
        checkpoints: Checkpoints,
        progress: Progress,
        stopping: Stopping,
        *,
        keep: int,
        fingerprint: str,
        settled: Callable[[], None] = lambda: None,
    ) -> Outcome:
        """Train. `keep`: how many checkpoints stay; `fingerprint`: what tells this run's from others'. `settled` is
        called before the first step, when all that the run needs was read.

        StageError as the trainer raised it; OUT_OF_MEMORY where the system killed it; RuntimeError for a defect.
        """
        partial = self._file.with_suffix(".partial")
        partial.write_text(job.model_dump_json())
        partial.rename(self._file)
        told = False
        while True:
            if not told and stopping():
                told = True
                self._say("stop")
            try:
                for name, value in self._channel.receive(_LOOK_SECONDS):
                    match name:
                        case "progress":
                            step, total, values = value
                            progress(step, total, values)
                        case "log":
                            level, logger, line = value
                            logging.getLogger(logger).log(level, "%s", line)
                        case "settled":
                            settled()
                            self._say("known")
                        case "keep":
                            step, best = value
                            checkpoints.save(step, fingerprint)
                            checkpoints.prune(keep, fingerprint, () if best is None else (best,))
                            self._say("kept")
                        case "done":
                            return Outcome.model_validate(value)
                        case "failed":
                            _raise(Failure.model_validate(value))
                        case other:
                            raise AssertionError(other)
            except EOFError:
                self._ended()

    def _say(self, name: str) -> None:
        try:
            self._channel.send(name)
        except OSError:
            self._ended()

    def _ended(self) -> NoReturn:
        """Raise what the end of a process without a last word means."""
        try:
            status = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise RuntimeError("the process that trains closed its connection and goes on") from error
        if status == -signal.SIGKILL:
            what = "the process that trains was killed (SIGKILL), as the system does where memory runs out"
            hint = "give it more memory, or make the batch, the sequence or the model smaller"
            raise StageError(FailureReason.OUT_OF_MEMORY, what, hint)
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        raise RuntimeError(f"the process that trains {how}; the lines above this one say why")


def _one_gpu(shown: str | None) -> str:
    """The first of the GPUs that this process may see.

    Of several, Transformers' trainer would use all at once, in threads of one process (torch.nn.DataParallel), with as
    many times the batch.

    >>> _one_gpu(None), _one_gpu("3,1"), _one_gpu("")
    ('0', '3', '')
    """
    if shown is None:
        return "0"
    first, *others = shown.split(",")
    if others:
        log.warning("CUDA_VISIBLE_DEVICES=%s: one process trains, on the first of them", shown)
    return first.strip()


def _command(file: Path, ranks: int) -> list[str]:
    if ranks == 1:
        return [sys.executable, "-m", WORKER, str(file)]
    return [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"),
        *("-m", WORKER, str(file)),
    ]


def _raise(failure: Failure) -> NoReturn:
    if failure.reason is FailureReason.INTERNAL_ERROR:
        raise RuntimeError(f"the training failed: {failure.message}")
    raise StageError(failure.reason, failure.message, failure.hint)
