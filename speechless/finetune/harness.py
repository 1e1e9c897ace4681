"""What every recipe shares: device, rows, model, adapters, checkpoints, the result.

Low-rank adapters: Hu et al., 2021, arXiv:2106.09685. The same job gives the same bytes on the same machine, straight
through or taken up from a checkpoint.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from speechless.contract import METHODS, FailureReason, LongRows, Metric, Precision
from speechless.contract.objectives import OBJECTIVES
from speechless.data.render import turn_ends
from speechless.data.tokenizer import load_tokenizer
from speechless.errors import StageError
from speechless.finetune import bits
from speechless.finetune.adapters import adapters_of, settle
from speechless.finetune.best import STATE, measured
from speechless.finetune.heads import HEADS, HeadKind
from speechless.finetune.job import Job, Outcome, Point, Starter
from speechless.finetune.recipes import RECIPES
from speechless.finetune.speed import Cost, Speed, peak_of
from speechless.finetune.trackers import Trackers

if TYPE_CHECKING:
    from speechless.finetune.device import Device
    from speechless.finetune.watch import Watch

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """What a recipe's trainer is made from."""

    job: Job
    model: Any
    tokenizer: Any
    rows: Any
    """A `datasets.Dataset` with the recipe's columns."""
    heldout: Any | None
    adapters: Any | None
    """The adapters' `peft.LoraConfig`; None: the whole model is trained."""
    dtype: Any
    """The `torch.dtype` in which the model was read."""


def load() -> None:
    """Import what takes seconds: every run needs it."""
    import peft
    import torch
    import transformers
    from trl import SFTTrainer

    del peft, torch, transformers, SFTTrainer


def train(job: Job, starter: Starter) -> Outcome:
    """Train and write the model (Full) or the adapter (LoRA, QLoRA) to `job.out`.

    Stopped on the way: a checkpoint is saved and StageError(INTERRUPTED) raised; the same job goes on from there.
    """
    with Trackers(job) as trackers:
        return _train(job, starter, trackers)


def _train(job: Job, starter: Starter, trackers: Trackers) -> Outcome:
    import torch
    from datasets import Dataset

    from speechless.finetune import predictions
    from speechless.finetune.watch import Watch

    module, kind = RECIPES[job.objective].load(), HEADS[OBJECTIVES[job.objective].head]

    where, job = _settled(job)
    _quiet()

    # The rows, as the numbers that the recipe made of them.
    tokenizer = load_tokenizer(job.tokenizer or job.model)
    rows = Dataset.from_file(str(job.rows.train))
    heldout = Dataset.from_file(str(job.rows.heldout)) if job.rows.heldout else None
    _check(starter)
    # Before anything that costs time.
    trackers.connect()

    # The model. Full: float32 weights, because small updates vanish in bfloat16. With adapters it is not updated.
    full = not METHODS[job.method].adapters
    rounded = where.bf16 and (not full or job.precision is Precision.PURE_BF16)
    dtype = torch.bfloat16 if rounded else torch.float32
    model = module.model(job, dtype)
    _fits(tokenizer, model, job)
    kind.settle(model, tokenizer, job.model)
    adapters = None if full else _adapters(job, model, kind)
    _check(starter)

    # The run, taken up from its newest checkpoint if there is one.
    watch = Watch(job, starter, trackers, module.METRICS.values())
    run = Run(job, model, tokenizer, rows, heldout, adapters, dtype)
    with bits.types_kept(model):
        trainer = module.trainer(run, _arguments(job, where, evaluate=heldout is not None), [watch])
    _correct(trainer, where)
    trainable = sum(parameter.numel() for parameter in trainer.model.parameters() if parameter.requires_grad)
    attention = model.config._attn_implementation
    words = (job.objective, job.method, where.name, attention, trainable, job.rows.counts.rows)
    log.info("%s, %s on %s with attention %s, %d trainable parameters, %d rows", *words)
    watch.speed = _speed(job, trainer, model, trainable, where)
    starter.settled()
    before = _steps(job, trainer, watch)
    if watch.interrupted:
        what = f"stopped by a signal at step {trainer.state.global_step} of {trainer.state.max_steps}"
        raise StageError(
            FailureReason.INTERRUPTED, what, "a checkpoint was saved; a new attempt goes on from it"
        )

    if trainer.is_world_process_zero():
        _write(run, trainer.model)
        if job.extras.predict:
            predictions.write(run, trainer.model, module.asked, where, starter.stopping)
    return Outcome(
        steps=trainer.state.global_step,
        metrics=_metrics(job, watch, _LAST | module.METRICS, trainer.state.global_step, trainable),
        resumed_from=before,
        curve=curve_of(trainer.state.log_history),
        settings={
            "device": where.name,
            "precision": "bf16" if where.bf16 else "fp32",
            "attention": attention,
            "learningRate": job.learning_rate,
            "targetModules": list[JsonValue](sorted(adapters.target_modules) if adapters else []),
        },
    )


def _write(run: Run, model: Any) -> None:
    """The result: the model, or the adapter."""
    from speechless.finetune import models

    job = run.job
    # What learned to end its turns by a token must be stopped by that token, whatever the base was stopped by.
    stop = _stop(job, run.tokenizer)
    if not METHODS[job.method].adapters:
        models.save_model(model, job.model, job.out, stop, job.tokenizer, shard=job.extras.max_shard_size)
    else:
        models.save_adapter(model, job.model, job.base_name, job.out, stop, job.tokenizer)


def _adapters(job: Job, model: Any, kind: HeadKind) -> Any:
    """The `peft.LoraConfig` of what is trained."""
    if job.experts is None:
        return adapters_of(model, job.lora, kind, job.new_tokens)
    from speechless.finetune import experts

    return experts.adapters_of(job.experts, kind.task)


def _fits(tokenizer: Any, model: Any, job: Job) -> None:
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        what = f"{job.model.name}: the tokenizer has {len(tokenizer)} tokens, more than the model's embedding"
        hint = "bring the tokenizer that the model was trained with"
        raise StageError(FailureReason.MODEL_INVALID, what, hint)


def _settled(job: Job) -> tuple[Device, Job]:
    """Where to compute, and the job with what that decides; StageError for what cannot be had there."""
    from speechless.finetune import device, repeatable

    where = device.choose(job.precision)
    device.check_optimizer(job.hyperparameters.optim, where)
    device.check_bits(job.held, where)
    device.check_liger(asked=job.hyperparameters.use_liger_kernel, model=job.model, where=where)
    if job.experts:
        from speechless.finetune import experts

        experts.check(job.model)
    device.limit_memory(job.extras.max_memory_mb, where)
    chosen = device.attention(job.hyperparameters.attn_implementation, where)
    given = job.hyperparameters.model_copy(update={"attn_implementation": chosen})
    repeatable.settle(given.seed)
    return where, job.model_copy(update={"hyperparameters": given})


def _steps(job: Job, trainer: Any, watch: Watch) -> int:
    """Take the steps that are left; gives the number of those that an earlier attempt took."""
    from transformers import TrainerState

    from speechless.finetune.watch import Exhausted, StopEvaluation

    trainer.evaluate = _apart(trainer.evaluate)
    before, left = 0, True
    if job.resume_from is not None:
        state = TrainerState.load_from_json(str(job.resume_from / STATE))
        before = state.global_step
        log.info("going on from step %d of %d", before, state.max_steps)
        left = before < state.max_steps and not watch.exhausted(state) and not watch.over(state)
        trainer.args.eval_on_start = watch.catching_up = left and watch.missed(trainer.args, state)
    if left:
        try:
            trainer.train(resume_from_checkpoint=str(job.resume_from) if job.resume_from else None)
        except Exhausted:
            log.info("the loss on held-out rows falls no more")
        except StopEvaluation:
            # While it catches up, the checkpoint is there, and what decides chance is not as it was.
            if not watch.catching_up:
                trainer._save_checkpoint(trainer.model, trial=None)
                trainer.callback_handler.on_save(trainer.args, trainer.state, trainer.control)
    else:
        # The trainer would take one step more before it sees that there is none.
        trainer._load_from_checkpoint(str(job.resume_from))
        trainer.state = state
        watch.remember(state)
    if not watch.interrupted:
        _settle(job, trainer, watch)
    return int(before)


def _settle(job: Job, trainer: Any, watch: Watch) -> None:
    """After the last step: the loss on held-out rows that is still to be known, and the weights of the best step."""
    from speechless.finetune.watch import StopEvaluation

    state, wanted = trainer.state, job.hyperparameters.load_best_model_at_end
    known = trainer.eval_dataset is None or measured(state.log_history, state.global_step)
    if not known and (wanted or watch.missed(trainer.args, state)):
        try:
            trainer.evaluate()
        except StopEvaluation:
            return
    watch.result = watch.best(state)
    if watch.result and watch.result.step != state.global_step:
        log.info("the result is step %d: the least loss on held-out rows, %.4g", *watch.result[:2])
        trainer._load_from_checkpoint(str(job.checkpoints / f"checkpoint-{watch.result.step}"))


def _apart(evaluate: Callable[..., Any]) -> Callable[..., Any]:
    """An evaluation that leaves chance as it was: a run may make it later, after it was stopped, and goes on alike."""
    import torch

    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []

    def made(*words: Any, **named: Any) -> Any:
        with torch.random.fork_rng(devices):
            return evaluate(*words, **named)

    return made


def _stop(job: Job, tokenizer: Any) -> tuple[int, ...]:
    """What learned to end by a token must be stopped by that token, whatever the base was stopped by."""
    if not HEADS[OBJECTIVES[job.objective].head].writes:
        return ()
    ends = turn_ends(tokenizer) if job.rows.counts.conversations else ()
    return (tokenizer.eos_token_id, *ends) if job.tokenizer else ends


def _speed(job: Job, trainer: Any, model: Any, trainable: int, where: Device) -> Speed:
    """What measures the run: tokens of all ranks."""
    import torch

    counts, config = job.rows.counts, model.config.get_text_config()
    tokens = counts.tokens / counts.rows
    args = trainer.args
    batch = args.per_device_train_batch_size * args.gradient_accumulation_steps
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    embedding, output = model.get_input_embeddings(), model.get_output_embeddings()
    # Only an embedding that makes the logits, too, takes part in a multiplication.
    tied = output is not None and output.weight is embedding.weight
    full = not METHODS[job.method].adapters
    frozen = sum(bits.elements(parameter) for parameter in model.parameters()) - (0 if full else trainable)
    used = frozen - (0 if tied else embedding.weight.numel())
    cost = Cost(used, trainable, config.num_hidden_layers, heads * size, full)
    peak = peak_of(torch.cuda.get_device_name()) if where.name == "cuda" else None
    return Speed(
        tokens, batch * args.world_size, cost.flops(tokens), peak * args.world_size if peak else None
    )


POINTS = 400
"""Of a curve."""


def curve_of(history: Sequence[Mapping[str, Any]]) -> tuple[Point, ...]:
    """The losses of a trainer's log, thinned out evenly; the last ones and those on held-out rows stay."""
    held = [Point(step=one["step"], eval_loss=one["eval_loss"]) for one in history if "eval_loss" in one]
    trained = [Point(step=one["step"], loss=one["loss"]) for one in history if "loss" in one]
    every = -(-len(trained) // POINTS) or 1
    return (*trained[::-1][::every][::-1], *held)


def _metrics(
    job: Job, watch: Watch, logged: Mapping[str, str], steps: int, trainable: int
) -> tuple[Metric, ...]:
    """`logged`: name to what the trainer logs its last value as."""
    counts = job.rows.counts
    numbers = {name: watch.last[key] for name, key in logged.items() if key in watch.last} | {
        "train/steps": steps,
        "train/rows": counts.rows,
        "train/tokens": counts.tokens,
        "train/rows_cut": counts.cut,
        "train/rows_dropped": counts.dropped,
        "train/rows_bad": job.rows.bad + counts.bad,
        "train/parameters": trainable,
    }
    if watch.result:
        # What is said of the held-out rows is said of the result.
        numbers |= {"train/best_step": watch.result.step, "eval/loss": watch.result.loss}
    if job.hyperparameters.long_rows is LongRows.DROP:
        numbers["train/rows_removed"] = counts.removed
    return tuple(Metric(name=name, value=value) for name, value in numbers.items())


_LAST = {"train/loss": "loss", "eval/loss": "eval_loss"}
"""Metrics to the last value that the trainer logged under a name."""


def _arguments(job: Job, where: Device, *, evaluate: bool) -> Mapping[str, Any]:
    """Settings that all trainers take; saving and stopping are `Watch`'s business, not theirs."""
    given, cpu = job.hyperparameters, where.name == "cpu"
    return {
        "output_dir": str(job.checkpoints),
        "learning_rate": job.learning_rate,
        "num_train_epochs": given.num_train_epochs,
        "max_steps": given.max_steps or -1,
        "per_device_train_batch_size": given.per_device_train_batch_size,
        "per_device_eval_batch_size": given.per_device_train_batch_size,
        "gradient_accumulation_steps": given.gradient_accumulation_steps,
        # Below 1, Transformers takes it for a part of all steps.
        "warmup_steps": given.warmup_ratio or given.warmup_steps,
        "lr_scheduler_type": given.lr_scheduler_type,
        "weight_decay": given.weight_decay,
        "max_grad_norm": given.max_grad_norm,
        "optim": given.optim,
        "train_sampling_strategy": "group_by_length" if given.group_by_length else "random",
        "neftune_noise_alpha": given.neftune_noise_alpha,
        "seed": given.seed,
        "data_seed": given.seed,
        "bf16": where.bf16,
        "use_cpu": cpu,
        # Recomputing activations saves memory, which only a GPU is short of.
        "gradient_checkpointing": not cpu
        if given.gradient_checkpointing is None
        else given.gradient_checkpointing,
        "dataloader_pin_memory": not cpu,
        "ddp_find_unused_parameters": False,
        "eval_strategy": "no" if not evaluate else "steps" if given.eval_steps else "epoch",
        "eval_steps": given.eval_steps,
        "prediction_loss_only": True,
        "save_strategy": "no",
        "logging_steps": job.logging_steps,
        "logging_first_step": True,
        # The default shows the loss before it became NaN.
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "report_to": "none",  # `Trackers` reports
    }


def _check(starter: Starter) -> None:
    if starter.stopping():
        what = "stopped by a signal before the first step"
        raise StageError(FailureReason.INTERRUPTED, what, "a new attempt starts again")


def _quiet() -> None:
    """Libraries' own bars and tables stay off; their warnings go to the log."""
    import datasets
    import transformers

    datasets.disable_progress_bars()
    # A trainer may make columns of columns; the folder of the rows is shared with other runs.
    datasets.disable_caching()
    transformers.utils.logging.disable_progress_bar()


def _correct(trainer: Any, where: Device) -> None:
    """What libraries do otherwise than it is wanted here."""
    import torch
    from transformers.trainer_callback import PrinterCallback

    from speechless.finetune import repeatable

    if where.name == "cpu":
        # With several ranks it is "cpu:0", and torch.load knows no such place for the optimizer's state.
        vars(trainer.args)["_setup_devices"] = torch.device("cpu")
    # More GPUs than one would silently become nn.DataParallel; several are a matter of torchrun.
    trainer.args._n_gpu = min(1, trainer.args.n_gpu)
    # TRL would write a card of its own words beside the checkpoints; ours is in the result (card.py).
    trainer.create_model_card = lambda *_, **__: None
    trainer.remove_callback(PrinterCallback)
    settle(trainer.model)
    repeatable.strictly(trainer, where)
