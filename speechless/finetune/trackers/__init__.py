"""Trackers get what a training logs, and never cost the training: a module each, a thread each (`sender.py`).

A run that goes on from a checkpoint goes on in the tracker's run: its name there lies in the checkpoint.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol

from pydantic import JsonValue

from speechless.contract import METHODS, FailureReason
from speechless.contract.tracking import TRACKERS, Tracker
from speechless.errors import StageError
from speechless.finetune.job import Job
from speechless.finetune.trackers.base import Connection, End, Logged, Wanted
from speechless.finetune.trackers.sender import Sender

log = logging.getLogger(__name__)

FILE = "trackers.json"
"""In a checkpoint: what each tracker calls the run."""


class _Module(Protocol):
    """What a tracker's module has."""

    def missing(self, environment: Mapping[str, str], folder: Path | None) -> str:
        """What has to be set before it can be reported to; empty: nothing."""

    def connect(self, wanted: Wanted) -> Connection:
        """Begin a run, or go on in one. StageError: TRACKER_UNAVAILABLE, or INVALID_SPEC where waiting is no help."""


def check(names: Sequence[Tracker], folder: Path | None) -> None:
    """StageError(INVALID_SPEC) for a tracker whose package is not installed, or that is not told where to report to.

    `folder`: where files may lie that stay; None: no folder of this run stays, as in a pod.
    """
    for name in names:
        row = TRACKERS[name]
        if importlib.util.find_spec(row.flag) is None:
            what = f"tracker {name} needs the package {row.flag}, which is not installed"
            raise StageError(
                FailureReason.INVALID_SPEC, what, f"pip install {row.distribution}, or leave it out"
            )
        if what := _module(name).missing(os.environ, folder):
            raise StageError(
                FailureReason.INVALID_SPEC, f"tracker {name} is not set up", f"{what}, or leave it out"
            )


def ready(folder: Path | None) -> tuple[Tracker, ...]:
    """Those that could be reported to."""
    found = []
    for name in TRACKERS:
        with contextlib.suppress(StageError):
            check([name], folder)
            found.append(name)
    return tuple(found)


class Trackers:
    """Those of a run; to be used with `with`, whose end ends the trackers' runs. Of several ranks the first reports."""

    def __init__(self, job: Job) -> None:
        """Take the run. Nothing is sent before `connect`."""
        self._job, self._told = job, job.tracking
        first = int(os.environ.get("RANK", "0")) == 0
        self._names = self._told.trackers if first else ()
        self._runs: dict[Tracker, str] = {}
        self._senders: list[Sender] = []

    def connect(self) -> None:
        """Begin a run of each tracker, or go on in it.

        StageError where one cannot be reached and the training has not begun either. A training that goes on is not
        given up for it: then the tracker is tried again from time to time.
        """
        check(self._names, self._told.folder)
        step = 0
        if self._job.resume_from is not None:
            step = int(self._job.resume_from.name.rpartition("-")[2])
            file = self._job.resume_from / FILE
            known = json.loads(file.read_text()) if file.exists() else {}
            self._runs = {name: known[name] for name in self._names if name in known}
        for name in self._names:
            connect = self._connector(name, step)
            try:
                connection = connect()
            except StageError as problem:
                if not step:
                    raise
                log.warning("%s (the training goes on; it is tried again)", problem.message)
                connection = None
            self._senders.append(Sender(name, connect, connection))

    def _connector(self, name: Tracker, step: int) -> Callable[[], Connection]:
        def connect() -> Connection:
            wanted = Wanted(
                name=self._told.name,
                settings=settings(self._job),
                step=step,
                before=self._runs.get(name, ""),
                folder=self._told.folder,
                scratch=self._told.scratch,
            )
            connection = _module(name).connect(wanted)
            self._runs[name] = connection.run
            log.info("reporting to %s: %s", name, connection.where)
            return connection

        return connect

    def log(self, values: Mapping[str, object], step: int) -> None:
        """Report what the trainer logged at a step; returns at once."""
        if not self._senders:
            return
        named = {_name(key): float(value) for key, value in values.items() if isinstance(value, int | float)}
        kept = {key: value for key, value in named.items() if key}
        if kept:
            for sender in self._senders:
                sender.put(Logged(step, time.time(), kept))

    def save(self, checkpoint: Path) -> None:
        """Write what the trackers call the run into a checkpoint that is not sealed yet."""
        if self._runs:
            (checkpoint / FILE).write_text(json.dumps(self._runs))

    def __enter__(self) -> Trackers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        how = End.FINISHED if error is None else End.FAILED
        if isinstance(error, StageError) and error.reason is FailureReason.INTERRUPTED:
            how = End.INTERRUPTED
        for sender in self._senders:
            sender.end(how)
        by = time.monotonic() + how.seconds
        for sender in self._senders:
            sender.wait(by - time.monotonic())


_SUMS = ("train_", "total_flos")
"""What the trainer logs once, at its end: it is no value of a step."""


def _name(key: str) -> str:
    """What trackers call a value, as Transformers does; empty: it is not reported.

    >>> _name("eval_loss"), _name("loss"), _name("train_runtime")
    ('eval/loss', 'train/loss', '')
    """
    if key.startswith(_SUMS):
        return ""
    return f"eval/{key.removeprefix('eval_')}" if key.startswith("eval_") else f"train/{key}"


def settings(job: Job) -> dict[str, JsonValue]:
    """What trackers show of a run's settings: no path and no address of this machine."""
    told = {"objective", "options", "method", "hyperparameters", "precision", "base_name"}
    if METHODS[job.method].adapters:
        told.add("experts" if job.experts else "lora")
    if METHODS[job.method].quantized:
        told.add("qlora")
    found: dict[str, JsonValue] = job.model_dump(mode="json", include=told, exclude_none=True)
    return found | {"learning_rate": job.learning_rate, "rows": job.rows.counts.rows}


def _module(name: Tracker) -> _Module:
    module: _Module = importlib.import_module(f"{__name__}.{TRACKERS[name].flag}")
    return module
