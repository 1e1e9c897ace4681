"""TensorBoard: event files in a folder. Source: tensorflow/tensorboard's protos event.proto and summary.proto."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from speechless.contract import FailureReason
from speechless.errors import StageError, words_of
from speechless.finetune.trackers.base import End, Logged, Wanted

VARIABLE = "TENSORBOARD_LOGGING_DIR"


def missing(environment: Mapping[str, str], folder: Path | None) -> str:
    """Without a folder that stays, one has to be named."""
    if folder or environment.get(VARIABLE):
        return ""
    return f"name a folder that outlives the pod by {VARIABLE}, with a volume (docs: how-to, trackers)"


def connect(wanted: Wanted) -> _Run:
    """A folder of its own for a new run; StageError(INVALID_SPEC) where none can be written."""
    root = Path(os.environ.get(VARIABLE) or wanted.folder or "").expanduser()
    try:
        name = wanted.before or _new(root, wanted.name or "run")
        return _Run(root / name, name, wanted)
    except OSError as error:
        what = f"tracker TensorBoard: {words_of(error)}"
        raise StageError(
            FailureReason.INVALID_SPEC, what, f"{VARIABLE} must be a folder to write into"
        ) from None


def _new(root: Path, name: str) -> str:
    """A name that no run has, and its folder."""
    for number in count(1):
        found = name if number == 1 else f"{name}-{number}"
        try:
            (root / found).mkdir(parents=True)
        except FileExistsError:
            continue
        return found
    raise AssertionError("count() has no end")


class _Run:
    """A folder of event files."""

    def __init__(self, folder: Path, name: str, wanted: Wanted) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.run, self.where = name, str(folder)
        # Of steps after the checkpoint that a run goes on from, TensorBoard then shows what comes now.
        self._writer: Any = SummaryWriter(str(folder), purge_step=wanted.step + 1)
        if not wanted.before:
            self._writer.add_text("settings", f"```\n{json.dumps(wanted.settings, indent=1)}\n```", 0)

    def log(self, logged: Sequence[Logged]) -> None:
        """Append to the file."""
        for step, when, values in logged:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step, walltime=when)
        self._writer.flush()

    def end(self, how: End) -> None:
        """Close the file: it says nothing of the end."""
        self._writer.close()
