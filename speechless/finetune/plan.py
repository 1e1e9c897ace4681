"""What a training would do, without doing it: the plan, the memory that it takes, and one row with what is learned."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import JsonValue

from speechless.contract import (
    METHODS,
    BadRows,
    FailureReason,
    Format,
    Hyperparameters,
    Objective,
    Precision,
    Pretrain,
)
from speechless.contract.objectives import OBJECTIVES, Packing
from speechless.cpus import usable_memory
from speechless.data import Placed, Survey, read_rows, show
from speechless.data.render import IGNORED
from speechless.data.tokenizer import load_tokenizer
from speechless.errors import StageError
from speechless.finetune import memory, rope, sizes, tokenizer, trackers, variables
from speechless.finetune.context import limited
from speechless.finetune.flags import Flags
from speechless.finetune.heads import HEADS
from speechless.finetune.job import never_at_its_peak
from speechless.finetune.memory import Memory
from speechless.finetune.outputs import PREDICTIONS, Outputs
from speechless.finetune.recipes import Columns
from speechless.finetune.tasks import ENV
from speechless.finetune.tokens import Encoder, Encoding
from speechless.models import read_info
from speechless.output import Document
from speechless.store import FolderCheckpoints

LOOKED = 1000
"""Rows whose length is looked at; with more of them, the longest may be any."""


class Piece(Document):
    """A piece of a row."""

    text: str
    learned: bool


class Row(Document):
    """The first row that is trained on."""

    where: str
    pieces: list[Piece]


class Plan(Document):
    """What `--dry_run` prints."""

    model: str
    parameters: int
    trained_parameters: int
    dataset: str
    format: str
    train_rows: int
    heldout_rows: int
    bad_rows: int
    longest: int
    """Tokens of the longest row, at most maxLength; where not every row was looked at, maxLength."""
    objective: str
    method: str
    precision: str
    """As it is held and computed with on this machine."""
    epochs: float
    steps: int
    """Optimizer steps in all. With packing there are fewer."""
    batch: int
    """Rows of a step."""
    learning_rate: float
    schedule: str
    warmup_steps: int
    optimizer: str
    checkpoints: str
    output: Path
    state: str
    """What is in the output folder already, and what becomes of it."""
    notes: list[str]
    """What was said otherwise than it is said today, and what else is to be known."""
    memory: Memory
    row: Row


class Found(NamedTuple):
    """What a run would read."""

    model: Path
    said: str
    data: Survey
    identity: dict[str, JsonValue]


def plan(flags: Flags, found: Found, outputs: Outputs) -> Plan:
    """The plan. Nothing is written, and no weights are read. StageError as the run itself would raise it."""
    from speechless.finetune import device

    asked = flags.hyperparameters.max_length
    flags = flags._replace(hyperparameters=limited(found.model, flags.hyperparameters))
    if (own := flags.hyperparameters.max_length) < asked:
        told = f"--model_max_length {asked}: the model has {own} positions; rows are cut there"
        flags = flags._replace(told=(*flags.told, told))
    where = device.choose(flags.precision)
    device.check_optimizer(flags.hyperparameters.optim, where)
    held = flags.qlora if METHODS[flags.method].quantized else None
    device.check_bits(held, where)
    device.check_liger(asked=flags.hyperparameters.use_liger_kernel, model=found.model, where=where)
    if flags.experts:
        from speechless.finetune import experts

        experts.check(found.model)
    trackers.check(flags.tracking.report_to, outputs.reports)
    attention = device.attention(flags.hyperparameters.attn_implementation, where)
    given = flags.hyperparameters.model_copy(update={"attn_implementation": attention})
    fresh = isinstance(flags.options, Pretrain) and flags.options.from_scratch
    shape = sizes.shape_of_new(found.model) if fresh else sizes.shape_of(found.model)
    shape = shape.answering(HEADS[OBJECTIVES[flags.objective].head])
    skip = flags.bad_rows is BadRows.SKIP
    with tempfile.TemporaryDirectory(prefix="speechless-plan-") as scratch:
        model = rope.prepare(found.model, flags.rope_scaling, given.max_length, Path(scratch) / "scaled")
        context = _context(model)
        wanted, by_row = tokenizer.settled(flags.tokenizer, found.data.prompt_types)
        words = tokenizer.prepare(model, wanted, Path(scratch) / "tokenizer") or model
        encoding = Encoding(words, flags.objective, given.max_length, skip, given.packing, by_row=by_row)
        row, longest = _look(found.data, encoding, load_tokenizer(words))
    training = memory.Training(
        shape=shape,
        objective=flags.objective,
        method=flags.method,
        precision=_precision(flags.precision, where.bf16),
        hyperparameters=given,
        lora=flags.lora,
        experts=flags.experts,
        held=held,
        length=longest,
        cuda=where.name == "cuda",
        fresh=fresh,
    )
    steps = steps_of(given, found.data.train_rows, flags.extras.stop_after_epochs)
    every = steps_of(given, found.data.train_rows)
    warmup = math.ceil(every * given.warmup_ratio) if given.warmup_ratio else given.warmup_steps
    rate = given.learning_rate or OBJECTIVES[flags.objective].learning_rate.of(flags.method)
    return Plan(
        model=found.said,
        parameters=shape.parameters,
        trained_parameters=training.trained,
        dataset=flags.dataset,
        format=found.data.format,
        train_rows=found.data.train_rows,
        heldout_rows=found.data.heldout_rows,
        bad_rows=found.data.bad_rows,
        longest=longest,
        objective=flags.objective,
        method=flags.method,
        precision={"fp32": "FP32", "bf16": "BF16", "pure": "PureBF16"}[training.precision],
        epochs=flags.extras.stop_after_epochs or given.num_train_epochs,
        steps=steps,
        batch=given.per_device_train_batch_size * given.gradient_accumulation_steps,
        learning_rate=rate,
        schedule=given.lr_scheduler_type,
        warmup_steps=warmup,
        optimizer=given.optim,
        checkpoints=_checkpoints(flags),
        output=flags.output_dir,
        state=_state(flags, found, outputs),
        notes=list(_notes(flags, found, shape, warmup, steps, context)),
        memory=memory.estimate(training, *_device(flags, cuda=where.name == "cuda")),
        row=row,
    )


def steps_of(given: Hyperparameters, rows: int, epochs: float | None = None) -> int:
    """Optimizer steps of so many rows, as Transformers' Trainer counts them.

    >>> steps_of(Hyperparameters(per_device_train_batch_size=4, gradient_accumulation_steps=2, num_train_epochs=3), 17)
    9
    """
    if given.max_steps is not None:
        return given.max_steps
    batches = math.ceil(rows / given.per_device_train_batch_size)
    an_epoch = max(1, math.ceil(batches / given.gradient_accumulation_steps))
    return math.ceil((epochs or given.num_train_epochs) * an_epoch)


def _precision(asked: Precision, bf16: bool) -> str:
    if not bf16:
        return "fp32"
    return "pure" if asked is Precision.PURE_BF16 else "bf16"


def _look(data: Survey, encoding: Encoding, tokenizer: Any) -> tuple[Row, int]:
    """The first row that is not left out, and the tokens of the longest. StageError where none is left."""
    encoder, first, longest = Encoder(encoding, tokenizer), None, 0
    refused = ""
    for placed in islice(read_rows(data, heldout=False), LOOKED):
        columns = encoder.columns(placed)
        if isinstance(columns, str):
            refused = refused or columns
            continue
        longest = max(longest, length_of(columns))
        first = first or Row(
            where=placed.where, pieces=_pieces(placed, columns, encoding.max_length, tokenizer)
        )
    if first is None:
        raise StageError(FailureReason.DATASET_INVALID, refused, "no row can be encoded: correct them")
    packs = OBJECTIVES[encoding.objective].packing is Packing.ALWAYS or encoding.packing
    whole = packs or data.train_rows > LOOKED or longest > encoding.max_length
    return first, encoding.max_length if whole else longest


def length_of(columns: Columns) -> int:
    """Tokens of the longest sequence of a row.

    >>> length_of({"prompt_ids": [1, 2], "chosen_ids": [3], "rejected_ids": [4, 5]})
    4
    >>> length_of({"chosen_ids": [1, 2, 3], "rejected_ids": [1, 2]})
    3
    """
    if "input_ids" in columns:
        return len(columns["input_ids"])
    answers = (name for name in columns if name not in ("prompt_ids", "label"))
    return len(columns.get("prompt_ids", ())) + max(len(columns[name]) for name in answers)


def _pieces(placed: Placed, columns: Columns, limit: int, tokenizer: Any) -> list[Piece]:
    if "labels" in columns:
        ids, labels = columns["input_ids"][:limit], columns["labels"][:limit]
        # The first token is never predicted.
        parts = show.of_tokens((ids, [IGNORED, *labels[1:]] if labels else labels), tokenizer)
    else:
        parts = show.of_example(placed.example)
    return [Piece(text=text, learned=learned) for text, learned in parts]


def _checkpoints(flags: Flags) -> str:
    every = flags.save_steps
    told = [f"every {every} steps"] * bool(every) + ["every epoch"] * flags.save_every_epoch
    when = ", ".join(told) or "when interrupted"
    return f"{when} and at the end; the last {flags.save_total_limit} are kept"


def _state(flags: Flags, found: Found, outputs: Outputs) -> str:
    if flags.restart:
        return "an earlier run there is removed (--restart)"
    outputs.refuse_foreign()
    if outputs.completed_before:
        return "a completed run: nothing is done without --restart"
    if other := outputs.difference(found.identity):
        return f"a run of other settings or data ({other}): refused without --restart"
    if outputs.completed:
        return "a completed run: nothing is done without --restart"
    from speechless.finetune.job import fingerprint

    newest = FolderCheckpoints(outputs.folder).newest(fingerprint(found.identity))
    return f"goes on from {newest.path.name}" if newest else "nothing"


def _context(folder: Path) -> int | None:
    info = read_info(folder, Format.HUGGING_FACE)
    return info.context_length if info else None


def _notes(
    flags: Flags, found: Found, shape: sizes.Shape, warmup: int, steps: int, context: int | None
) -> Iterator[str]:
    """`context`: positions of the model that is trained."""
    yield from flags.told
    longest, had = flags.hyperparameters.max_length, _context(found.model)
    if context != had:
        yield f"--rope_scaling: the model's {had} positions become {context}"
    if context and longest > context:
        told = f"--model_max_length {longest}: the model knows {context} positions; of what is behind them it may learn"
        unscaled = "" if flags.rope_scaling else ", and nothing is scaled without --rope_scaling"
        yield f"{told} little{unscaled}"
    if warmup and flags.hyperparameters.lr_scheduler_type == "constant":
        yield f"warmup of {warmup} steps has no effect with --lr_scheduler_type constant: take constant_with_warmup"
    if told := never_at_its_peak(flags.hyperparameters, warmup, steps):
        yield told
    names = {name for name, _, _ in shape.linear}
    if METHODS[flags.method].adapters and (strange := sorted({*flags.lora.target_modules} - names)):
        yield f"--lora_modules {','.join(strange)}: no such layer; there are {', '.join(sorted(names))}"
    if flags.experts:
        size = shape.mixtral(flags.experts.num_experts)
        told = f"merged, the experts become a Mixtral of {size} parameters"
        yield f"{told}: merging takes {size * 4 / 1e9:.3g} GB of memory"
    if flags.extras.predict:
        yield f"the {found.data.heldout_rows} rows held out are answered after the training: {PREDICTIONS}"
    if flags.hyperparameters.use_liger_kernel:
        yield "the memory is reckoned without Liger's kernels, with which it is less"
    if flags.objective is Objective.PRETRAIN or flags.hyperparameters.packing:
        yield "rows are packed: there are fewer steps than are told"


def _device(flags: Flags, *, cuda: bool) -> tuple[int, str]:
    """Bytes of memory, and whose they are."""
    if cuda:
        import torch

        properties = torch.cuda.get_device_properties(0)
        limit = flags.extras.max_memory_mb
        return min(
            properties.total_memory, limit * 10**6 if limit else properties.total_memory
        ), properties.name
    return usable_memory(), "this machine (CPU)"


def lines(made: Plan) -> Iterator[str]:
    """The plan for people, without its row."""
    trained, held = _short(made.trained_parameters), made.heldout_rows
    yield f"model        {made.model}: {_short(made.parameters)} parameters, {trained} are trained"
    yield f"data         {made.dataset} ({made.format}): {made.train_rows} rows, {held} held out, {made.bad_rows} bad"
    yield f"             the longest row has {made.longest} tokens"
    yield f"training     {made.objective}, {made.method}, {made.precision}, {made.optimizer}"
    yield f"steps        {made.steps} in {made.epochs:g} epochs, {made.batch} rows each"
    yield f"rate         {made.learning_rate:g}, {made.schedule}, {made.warmup_steps} steps of warmup"
    yield f"checkpoints  {made.checkpoints}"
    yield f"output       {made.output}: {made.state}"
    for note in made.notes:
        yield f"note         {note}"
    used = made.memory
    for component in used.components:
        yield f"memory       {gigabytes(component.bytes):>9}  {component.name} ({component.how})"
    verdict = "it fits" if used.fits else "IT DOES NOT FIT"
    yield f"             {gigabytes(used.total):>9}  in all; {used.device} has {gigabytes(used.available)}: {verdict}"
    if not used.fits:
        yield from _changes(used)


def _changes(used: Memory) -> Iterator[str]:
    """What to change, in the trainer's flags; in a task directory also in its variables."""
    enough = used.after <= used.available
    if used.changes:
        does = "it takes" if enough else "that is still too much,"
        yield f"change       {'; '.join(used.changes)}: {does} {gigabytes(used.after)}"
        if Path(ENV).is_file():
            yield f"             in {ENV}: {' '.join(variables.assignments(used.changes))}"
    if not enough:
        begin = "             " if used.changes else "change       "
        there = (
            f": in bfloat16 it takes {gigabytes(used.on_gpu)} there" if used.on_gpu else " with more memory"
        )
        yield f"{begin}take a smaller model, or a {'' if used.on_gpu else 'larger '}GPU{there}"


def gigabytes(size: int) -> str:
    """Bytes in words.

    >>> gigabytes(1_234_000_000), gigabytes(5_600_000)
    ('1.23 GB', '0.0056 GB')
    """
    return f"{size / 1e9:.3g} GB"


def _short(number: int) -> str:
    """A number in words.

    >>> _short(7_241_000_000), _short(1_543_000), _short(999)
    ('7.24B', '1.54M', '999')
    """
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.3g}{name}"
    return str(number)
