"""What watches a training run: progress, a loss that is no number, checkpoints, the request to stop."""

import logging
import math
import resource
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.finetune.best import Best, best_of, measured
from speechless.finetune.job import Job, Starter, never_at_its_peak
from speechless.finetune.speed import Speed
from speechless.finetune.trackers import Trackers

log = logging.getLogger(__name__)
_SHOWN = (
    *("loss", "learning_rate", "grad_norm", "epoch", "eval_loss"),
    *("tokens_per_second", "mfu", "memory_gb"),
)
"""Of what is logged; beside it, what the recipe's own metrics are made of."""


_EPSILON = 1e-6
"""An epoch is counted in fractions of its batches."""


class StopEvaluation(Exception):  # noqa: N818 - nothing is wrong
    """The run was asked to stop while it measured the loss on held-out rows."""


class Exhausted(Exception):  # noqa: N818 - nothing is wrong
    """An evaluation before the first step of this attempt says that no more are to be taken."""


class Watch(TrainerCallback):  # type: ignore[misc]
    """Decides when the trainer saves and stops; the trainer's own strategies for that are switched off."""

    def __init__(self, job: Job, starter: Starter, trackers: Trackers, more: Iterable[str] = ()) -> None:
        """Take the run, who started it, and who gets what is logged.

        `more`: names under which the recipe's trainer logs what is shown, too.
        """
        self._job, self._starter, self._trackers = job, starter, trackers
        self._shown = (*_SHOWN, *more)
        self.interrupted = False
        """Whether the run ended because it was asked to, with steps left."""
        self.last: dict[str, float] = {}
        """The latest value of everything that was logged."""
        self._losses: list[float] = []
        self.result: Best | None = None
        """The evaluation of the step that the result is made of; None: of the last one, whatever its loss."""
        self.catching_up = False
        """Whether an evaluation is made now that an earlier attempt had no time for."""
        self.speed: Speed | None = None
        """What measures how fast it is."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Show where the run starts."""
        self.remember(state)
        warmup = args.get_warmup_steps(state.max_steps)
        if told := never_at_its_peak(self._job.hyperparameters, warmup, state.max_steps):
            log.warning("%s", told)
        self._starter.progress(state.global_step, state.max_steps, {})

    def remember(self, state: Any) -> None:
        """Take what an earlier attempt logged."""
        for logged in state.log_history:
            self.last |= logged
        self._losses = [logged["loss"] for logged in state.log_history if "loss" in logged]

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """What an earlier attempt missed was made up for."""
        self.catching_up = False

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Save on schedule, when asked to stop, and always after the last step."""
        ended = self.over(state)
        last = ended or state.global_step >= state.max_steps
        control.should_training_stop = control.should_training_stop or ended
        if not last and agreed(self._starter.stopping(), args.device):
            self.interrupted = True
            control.should_training_stop = True
            control.should_evaluate = False
        every = self._job.every_steps
        due = every and state.global_step % every == 0
        control.should_save = bool(self.interrupted or due or last)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Save after each epoch, if asked to; do not spend a pod's last seconds on evaluating."""
        if self.interrupted:
            control.should_evaluate = False
        elif self._job.every_epoch and not control.should_training_stop:
            control.should_save = state.global_step < state.max_steps

    def on_prediction_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """An evaluation may take longer than a pod is given to end."""
        if agreed(self._starter.stopping(), args.device):
            self.interrupted = True
            raise StopEvaluation

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Keep a step that is the best so far; end the run where the loss on held-out rows falls no more."""
        if self.exhausted(state):
            if self.catching_up:
                raise Exhausted
            control.should_training_stop = True
            control.should_save = True
        best = self.best(state)
        if best and best.step == state.global_step:
            control.should_save = True

    def exhausted(self, state: Any) -> bool:
        """Whether the last evaluations brought nothing; told by the log alone, so a run that goes on knows it, too."""
        patience, best = self._job.hyperparameters.early_stopping_patience, best_of(state.log_history)
        return patience is not None and best is not None and best.after >= patience

    def best(self, state: Any) -> Best | None:
        """The evaluation whose checkpoint becomes the result; None: the last one does."""
        wanted = self._job.hyperparameters.load_best_model_at_end
        return best_of(state.log_history) if wanted else None

    def missed(self, args: Any, state: Any) -> bool:
        """Whether an evaluation was due at this step and was not made: the run was stopped instead."""
        if (
            args.eval_strategy == "no"
            or not state.global_step
            or measured(state.log_history, state.global_step)
        ):
            return False
        if args.eval_strategy == "steps":
            return bool(state.global_step % args.eval_steps == 0)
        epoch = state.epoch or 0.0
        return abs(epoch - round(epoch)) < _EPSILON

    def _check_divergence(self, loss: float, state: Any) -> None:
        """End a run that unlearns: more steps would only cost more."""
        self._losses.append(loss)
        first, recent = self._losses[0], self._losses[-DIVERGED:]
        if len(recent) == DIVERGED and min(recent) > max(first + NATS, first * TIMES):
            raise StageError(
                FailureReason.LOSS_DIVERGED,
                f"loss rose from {first:.3g} to {loss:.3g} and stayed there: step {state.global_step} of "
                f"{state.max_steps}",
                "lower learningRate, or add warmupSteps",
            )

    def over(self, state: Any) -> bool:
        """Whether the epochs are over after which the run ends, before its learning rate has reached its end."""
        epochs = self._job.extras.stop_after_epochs
        return epochs is not None and (state.epoch or 0) >= epochs - _EPSILON

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Have the checkpoint kept, once every rank has written its part."""
        if state.is_world_process_zero:
            self._trackers.save(self._job.checkpoints / f"checkpoint-{state.global_step}")
        barrier()
        best = self.best(state)
        self._starter.keep(state.global_step, best.step if best else None)

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
        if "loss" in logs:
            self._check_divergence(logs["loss"], state)
        if "loss" in logs and self.speed is not None:
            logs = logs | self.speed.look(state.global_step) | {"memory_gb": peak_memory() / 1e9}
        self._trackers.log(logs, state.global_step)
        shown = {name: float(logs[name]) for name in self._shown if name in logs}
        self._starter.progress(state.global_step, state.max_steps, shown)


DIVERGED, NATS, TIMES = 10, 3.0, 1.5
"""A run diverges where so many logged losses in a row are so many nats above the first one, and so many times it."""


def peak_memory() -> float:
    """Bytes that this rank has used at most: of its GPU, or of the machine."""
    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated())
    if sys.platform == "linux":
        # Not getrusage(2): there a process begins with the peak of the one that started it.
        told = Path("/proc/self/status").read_text(encoding="utf-8")  # proc_pid_status(5): VmHWM, in KiB
        return float(told.partition("VmHWM:")[2].split()[0]) * 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # in bytes on macOS


def agreed(asked: bool, device: Any) -> bool:
    """Whether any rank was asked: all of them must end at the same step. `device`: of this rank's tensors."""
    import torch
    from torch import distributed

    if not distributed.is_initialized():
        return asked
    flag = torch.tensor(int(asked), device=device)
    distributed.all_reduce(flag, op=distributed.ReduceOp.MAX)
    return bool(flag.item())


def barrier() -> None:
    """Wait for every rank."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.barrier()
