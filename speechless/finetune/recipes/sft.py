"""Supervised fine-tuning: the whole model, or low-rank adapters (Hu et al., 2021, arXiv:2106.09685).

TRL's SFTTrainer does the steps; what is learned of a row is decided in `tokens.py`. The same job gives the same bytes
on the same machine, straight through or taken up from a checkpoint.
"""

import logging
from typing import Any

from pydantic import JsonValue

from speechless.contract import FailureReason, Lora, Method, Metric
from speechless.data.render import load_tokenizer
from speechless.errors import StageError
from speechless.finetune.job import Job, Outcome, Progress, Stopping

log = logging.getLogger(__name__)


def train(job: Job, progress: Progress, stopping: Stopping) -> Outcome:
    """Train and write the model (Full) or the adapter (LoRA) to `job.out`.

    Stopped on the way: a checkpoint is saved and StageError(INTERRUPTED) raised; the same job goes on from there.
    """
    import torch
    from trl import SFTTrainer

    from speechless.finetune import device, models, tokens
    from speechless.finetune.watch import Watch

    # Where and how to compute.
    where = device.choose(job.precision)
    device.settle(job.hyperparameters.seed)
    _quiet()

    # The rows, as tokens and labels.
    tokenizer = load_tokenizer(job.model)
    max_length = job.hyperparameters.max_length
    rows, counts = tokens.encode(job.data, tokenizer, max_length, heldout=False, scratch=job.scratch)
    heldout = None
    if job.data.heldout_rows:
        heldout, _ = tokens.encode(job.data, tokenizer, max_length, heldout=True, scratch=job.scratch)
    _check(stopping)

    # The model. Full: float32 weights, because small updates would vanish in bfloat16. LoRA: the base is not updated.
    full = job.method is Method.FULL
    model = models.load_model(job.model, torch.bfloat16 if where.bf16 and not full else torch.float32)
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        what = f"{job.model.name}: the tokenizer has {len(tokenizer)} tokens, more than the model's embedding"
        raise StageError(
            FailureReason.MODEL_INVALID, what, "bring the tokenizer that the model was trained with"
        )
    targets: list[str] = []
    if not full:
        model, targets = _with_adapters(model, job.lora)
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    log.info("%s on %s, %d trainable parameters, %d rows", job.method, where.name, trainable, counts.rows)
    _check(stopping)

    # The run, taken up from its newest checkpoint if there is one.
    watch = Watch(job, progress, stopping)
    trainer = SFTTrainer(
        model=model,
        args=_arguments(job, where.name == "cpu", where.bf16, heldout is not None),
        train_dataset=rows,
        eval_dataset=heldout,
        processing_class=tokenizer,
        callbacks=[watch],
    )
    _without_printing(trainer)
    checkpoint = job.checkpoints.newest(job.fingerprint)
    if checkpoint:
        log.info("going on from step %d", checkpoint.step)
    trainer.train(resume_from_checkpoint=str(checkpoint.path) if checkpoint else None)
    if watch.interrupted:
        what = f"stopped by a signal at step {trainer.state.global_step} of {trainer.state.max_steps}"
        raise StageError(
            FailureReason.INTERRUPTED, what, "a checkpoint was saved; a new attempt goes on from it"
        )

    # The result.
    if full:
        models.save_model(trainer.model, job.model, job.out)
    else:
        models.save_adapter(trainer.model, job.model, job.base_name, job.out)
    last = {"train/loss": watch.last.get("loss"), "eval/loss": watch.last.get("eval_loss")}
    numbers = {name: value for name, value in last.items() if value is not None} | {
        "train/steps": trainer.state.global_step,
        "train/rows": counts.rows,
        "train/tokens": counts.tokens,
        "train/rows_cut": counts.cut,
        "train/rows_dropped": counts.dropped,
        "train/rows_bad": job.data.bad_rows,
        "train/parameters": trainable,
    }
    return Outcome(
        steps=trainer.state.global_step,
        metrics=tuple(Metric(name=name, value=value) for name, value in numbers.items()),
        resumed_from=checkpoint.step if checkpoint else 0,
        settings={
            "device": where.name,
            "precision": "bf16" if where.bf16 else "fp32",
            "learningRate": job.learning_rate,
            "targetModules": list[JsonValue](sorted(targets)),
        },
    )


def _arguments(job: Job, cpu: bool, bf16: bool, evaluate: bool) -> Any:
    """The trainer's settings; saving and stopping are `Watch`'s business, so no strategy of its own saves."""
    from trl import SFTConfig

    given = job.hyperparameters
    strategy = "no" if not evaluate else "steps" if job.eval_steps else "epoch"
    arguments = SFTConfig(
        output_dir=str(job.checkpoints.folder),
        learning_rate=job.learning_rate,
        num_train_epochs=given.num_train_epochs,
        max_steps=given.max_steps or -1,
        per_device_train_batch_size=given.per_device_train_batch_size,
        per_device_eval_batch_size=given.per_device_train_batch_size,
        gradient_accumulation_steps=given.gradient_accumulation_steps,
        warmup_steps=given.warmup_steps,
        lr_scheduler_type=given.lr_scheduler_type,
        weight_decay=given.weight_decay,
        max_grad_norm=given.max_grad_norm,
        optim="adamw_torch",
        seed=given.seed,
        data_seed=given.seed,
        bf16=bf16,
        use_cpu=cpu,
        # Recomputing activations saves memory, which only a GPU is short of.
        gradient_checkpointing=not cpu,
        dataloader_pin_memory=not cpu,
        # Rows are cut and labelled already.
        max_length=None,
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        eval_strategy=strategy,
        eval_steps=job.eval_steps,
        prediction_loss_only=True,
        save_strategy="no",
        logging_steps=job.logging_steps,
        logging_first_step=True,
        # The default shows the loss before it became NaN.
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
    )
    # More GPUs than one would silently become nn.DataParallel; several are a matter of torchrun.
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments


def _with_adapters(model: Any, lora: Lora) -> tuple[Any, list[str]]:
    """The model with fresh adapters, and the names of the layers that have one.

    StageError(INVALID_SPEC) if a name means no linear layer, or the output's.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    output = model.get_output_embeddings()
    names = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not output
    }
    for wanted in lora.target_modules:
        if wanted not in names:
            what = f"lora.targetModules: {wanted} is no linear layer of this model that can be adapted"
            raise StageError(FailureReason.INVALID_SPEC, what, f"there are {', '.join(sorted(names))}")
    targets = sorted(lora.target_modules or names)
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config), targets


def _check(stopping: Stopping) -> None:
    if stopping():
        what = "stopped by a signal before the first step"
        raise StageError(FailureReason.INTERRUPTED, what, "a new attempt starts again")


def _quiet() -> None:
    """Libraries' own bars and tables stay off; their warnings go to the log."""
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()


def _without_printing(trainer: Any) -> None:
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)
