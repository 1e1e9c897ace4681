"""What watches a training run: progress, a loss that is no number, checkpoints, a signal."""

import math
from typing import Any

from transformers import TrainerCallback

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.finetune.job import Job, Progress, Stopping

_SHOWN = ("loss", "learning_rate", "grad_norm", "epoch", "eval_loss", "rewards/accuracies", "rewards/margins")


class Watch(TrainerCallback):  # type: ignore[misc]
    """Decides when the trainer saves and stops; the trainer's own strategies for that are switched off."""

    def __init__(self, job: Job, progress: Progress, stopping: Stopping) -> None:
        """Take the run, where its progress goes, and who may stop it."""
        self._job, self._progress, self._stopping = job, progress, stopping
        self.interrupted = False
        """Whether the run ended because it was asked to."""
        self.last: dict[str, float] = {}
        """The latest value of everything that was logged."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Show where the run starts."""
        self._progress(state.global_step, state.max_steps, {})

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Save on schedule and when asked to stop."""
        if self._stopping():
            self.interrupted = True
            control.should_training_stop = True
        every = self._job.every_steps
        due = every and state.global_step % every == 0 and state.global_step < state.max_steps
        control.should_save = bool(self.interrupted or due)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Do not spend a pod's last seconds on evaluating."""
        if self.interrupted:
            control.should_evaluate = False

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Keep what was written, then remove what is no longer needed."""
        kept = self._job.checkpoints
        kept.save(state.global_step, self._job.fingerprint)
        kept.prune(self._job.keep, self._job.fingerprint)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        """Pass on the latest values; end a run whose loss is no number any more."""
        logs = logs or {}
        for name in ("loss", "grad_norm", "eval_loss"):
            if not math.isfinite(logs.get(name, 0.0)):
                raise StageError(
                    FailureReason.LOSS_NOT_FINITE,
                    f"{name} became {logs[name]} at step {state.global_step} of {state.max_steps}",
                    "lower learningRate, add warmupSteps, or look for broken rows in the dataset",
                )
        self.last |= logs
        shown = {name: float(logs[name]) for name in _SHOWN if name in logs}
        self._progress(state.global_step, state.max_steps, shown)
