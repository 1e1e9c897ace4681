"""Weights & Biases: a run on a server, or in files that are sent later (https://docs.wandb.ai)."""

from __future__ import annotations

import contextlib
import netrc
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.finetune.trackers.base import End, Logged, Wanted

PROJECT, STEP = "speechless", "train/global_step"
"""STEP is the axis, by the name that Transformers gives it."""
_START_SECONDS = 60.0


def missing(environment: Mapping[str, str], folder: Path | None) -> str:
    """A key for the server; without one, a folder for the files."""
    if environment.get("WANDB_MODE") in ("offline", "dryrun"):
        place = folder or environment.get("WANDB_DIR")
        return "" if place else "name a folder that outlives the pod by WANDB_DIR, with a volume"
    keys = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")
    if any(environment.get(key) for key in keys) or environment.get("WANDB_MODE") == "disabled":
        return ""
    host = urlsplit(environment.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname or ""
    with contextlib.suppress(OSError, netrc.NetrcParseError):
        if netrc.netrc().authenticators(host):
            return ""
    return "set WANDB_API_KEY, or WANDB_MODE=offline for files alone"


def connect(wanted: Wanted) -> _Run:
    """Begin a run, or go on in it."""
    # Words to its makers, beside those to the server.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb
    from wandb.errors import AuthenticationError, CommError, UsageError

    folder = Path(os.environ.get("WANDB_DIR") or wanted.folder or wanted.scratch)
    folder.mkdir(parents=True, exist_ok=True)
    settings = wandb.Settings(
        silent=True, console="off", init_timeout=_START_SECONDS, finish_timeout=End.FINISHED.seconds
    )
    again = {"id": wanted.before, "resume": "allow"} if wanted.before else {}
    try:
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            name=wanted.name or None,
            dir=str(folder),
            config=dict(wanted.settings),
            settings=settings,
            **again,
        )
    except (CommError, UsageError) as error:
        # Else the same run "is in use" when it is tried again.
        wandb.teardown()
        why = str(error).strip().partition("\n")[0][:300]
        what = f"tracker WandB cannot be reported to: {why}"
        if isinstance(error, AuthenticationError | UsageError):
            raise StageError(
                FailureReason.INVALID_SPEC, what, "set WANDB_API_KEY to a key of that server"
            ) from None
        hint = "try again when it answers, or leave it out"
        raise StageError(FailureReason.TRACKER_UNAVAILABLE, what, hint) from None
    run.define_metric(STEP)
    run.define_metric("*", step_metric=STEP, step_sync=True)
    return _Run(run, str(folder))


class _Run:
    """A run of W&B's own process, which sends and tries again by itself."""

    def __init__(self, run: Any, folder: str) -> None:
        self.run, self.where = str(run.id), str(run.url or folder)
        self._run = run

    def log(self, logged: Sequence[Logged]) -> None:
        """Hand the values over."""
        for step, _, values in logged:
            self._run.log({**values, STEP: step})

    def end(self, how: End) -> None:
        """Wait until all is sent, half a minute at most."""
        if how is End.INTERRUPTED:
            self._run.mark_preempting()
        self._run.finish(exit_code=0 if how is End.FINISHED else 1)
