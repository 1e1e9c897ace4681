"""A training run from checked rows to a result: the same for the command line and for a stage."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, JsonValue

from speechless.contract import (
    Experts,
    FailureReason,
    Hyperparameters,
    LongRows,
    Lora,
    Method,
    Objective,
    Precision,
    Qlora,
    RopeScaling,
    Tokenizer,
)
from speechless.contract.objectives import OBJECTIVES
from speechless.contract.tracking import Tracking
from speechless.data import Survey
from speechless.errors import StageError
from speechless.finetune import best, context, rope, rows, tokenizer, trackers
from speechless.finetune.job import Extras, Job, Outcome, Progress, Reporting, Rows, Stopping, fingerprint
from speechless.finetune.launch import Training
from speechless.finetune.tokens import Encoding
from speechless.models import weights
from speechless.store import Checkpoint, Checkpoints

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What is wanted."""

    model: Path
    """A Hugging Face folder."""
    data: Survey
    digests: Sequence[str]
    """What tells the bytes of the data's files from others."""
    method: Method
    hyperparameters: Hyperparameters
    out: Path
    """A folder that does not exist or is empty: the model or the adapter."""
    checkpoints: Checkpoints
    scratch: Path
    """A folder for what is not kept; of this run alone."""
    rows: Path
    """A folder that keeps datasets as tokens, for the next run."""
    objective: Objective = Objective.SFT
    options: BaseModel | None = None
    """Those of the objective, such as `contract.Dpo`; None: its defaults."""
    lora: Lora = field(default_factory=Lora)
    experts: Experts | None = None
    """Experts instead of the adapters of `lora`."""
    rope_scaling: RopeScaling | None = None
    tokenizer: Tokenizer = field(default_factory=Tokenizer)
    qlora: Qlora = field(default_factory=Qlora)
    every_steps: int = 0
    """Steps between checkpoints; 0: only when stopped, and at the end."""
    keep: int = 2
    """Checkpoints kept."""
    every_epoch: bool = False
    """A checkpoint after every epoch, too."""
    logging_steps: int = 1
    precision: Precision = Precision.AUTO
    base_name: str = ""
    """What an adapter calls its base model."""
    skip_bad_rows: bool = False
    """A row that the model's chat template refuses is left out and counted; without it, it ends the run."""
    extras: Extras = field(default_factory=Extras)
    tracking: Tracking = field(default_factory=Tracking)
    """Trackers that get what is logged."""
    reports: Path | None = None
    """Where their files may lie that stay; None: nowhere but where their own variables say."""
    restart: bool = False
    """Begin anew, whatever checkpoint of this run there is."""
    identity: Mapping[str, JsonValue] = field(default_factory=dict)
    """What makes this run another run: a checkpoint of other settings or data is not taken up."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of `identity`, hexadecimal."""
        return fingerprint(self.identity)


def train(
    request: Request,
    progress: Progress,
    stopping: Stopping,
    *,
    encoding: Callable[[int, int], None] = lambda done, total: None,
    begin: Callable[[], None] = lambda: None,
    settled: Callable[[], None] = lambda: None,
    ranks: int = 1,
) -> Outcome:
    """Make tokens of the rows, then train in processes of their own, and write the result to `request.out`.

    `encoding` is told (rows made into tokens, rows in all). `begin` is called once the rows are tokens, `settled`
    before the first step: by then the model and all that the settings need was read. Stopped on the way:
    StageError(INTERRUPTED); what was reached is kept, and the same request goes on from there.
    """

    trackers.check(request.tracking.report_to, request.reports)
    if not getattr(request.options, OBJECTIVES[request.objective].new_weights or "", False):
        weights.read_headers(request.model)  # what is missing or torn is told now, and not after the rows

    def tick(done: int, total: int) -> None:
        encoding(done, total)
        if stopping():
            what = f"stopped by a signal: {done} of {total} rows were made into tokens"
            raise StageError(FailureReason.INTERRUPTED, what, "a new attempt starts again")

    with Training(request.scratch, ranks) as training:
        settings = context.limited(request.model, request.hyperparameters)
        limit, packing = settings.max_length, settings.packing
        remove = settings.long_rows is LongRows.DROP
        model = rope.prepare(request.model, request.rope_scaling, limit, request.scratch / "scaled")
        asked, by_row = tokenizer.settled(request.tokenizer, request.data.prompt_types)
        words = tokenizer.prepare(model, asked, request.scratch / "tokenizer")
        how = Encoding(
            words or model, request.objective, limit, request.skip_bad_rows, packing, remove, by_row=by_row
        )
        made = rows.prepare(rows.Wanted(request.data, request.digests, how), request.rows, tick)
        begin()
        _need_heldout(request, made)
        checkpoint = None if request.restart else request.checkpoints.newest(request.fingerprint)
        if checkpoint and request.hyperparameters.load_best_model_at_end:
            _bring_best(request, checkpoint)
        job = Job(
            model=model,
            tokenizer=words,
            rows=made,
            method=request.method,
            hyperparameters=settings,
            out=request.out,
            checkpoints=request.checkpoints.folder,
            resume_from=checkpoint.path if checkpoint else None,
            objective=request.objective,
            options=request.options.model_dump(mode="json") if request.options else {},
            lora=request.lora,
            experts=request.experts,
            qlora=request.qlora,
            every_steps=request.every_steps,
            every_epoch=request.every_epoch,
            logging_steps=request.logging_steps,
            precision=request.precision,
            base_name=request.base_name,
            extras=request.extras,
            tracking=Reporting(
                trackers=request.tracking.report_to,
                name=request.tracking.run_name or "",
                folder=request.reports,
                scratch=request.scratch / "reports",
            ),
        )
        kept = request.checkpoints
        return training.run(
            job, kept, progress, stopping, keep=request.keep, fingerprint=request.fingerprint, settled=settled
        )


def _need_heldout(request: Request, made: Rows) -> None:
    """StageError(DATASET_INVALID) where a setting could do nothing, as none of the held-out rows can be learned from.

    Without such a setting the loss on them is just not measured, with a warning.
    """
    given = request.hyperparameters
    wanted = {
        "loadBestModelAtEnd": given.load_best_model_at_end,
        "earlyStoppingPatience": given.early_stopping_patience,
        "--do_predict": request.extras.predict,
    }
    for name in (name for name, value in wanted.items() if value and made.heldout is None):
        what = f"{name} needs held-out rows, and none of them has a token to learn within maxLength"
        hint = f"raise maxLength ({given.max_length}), or hold out more rows"
        raise StageError(FailureReason.DATASET_INVALID, what, hint)


def _bring_best(request: Request, newest: Checkpoint) -> None:
    """Have the checkpoint here that the result is made of, if no later step is better."""
    step = best.step_of(newest.path)
    if step is None or request.checkpoints.take(step, request.fingerprint):
        return
    what = f"checkpoint-{step} of this run is gone, and its loss on held-out rows is the least so far"
    hint = "bring it back, or train again from the beginning (--restart; on a cluster, create the FineTune again)"
    raise StageError(FailureReason.INPUT_NOT_FOUND, what, hint)
