"""`python -m speechless.finetune.finetune`: the trainer's command line. Exit status 0 done, 1 failed, 2 wrong usage."""

import hashlib
import json
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from pydantic import JsonValue

from speechless.contract import METHODS, BadRows, FailureReason, Format, ProgressPhase
from speechless.contract.needs import TRAINING
from speechless.data import Survey, show, survey
from speechless.data.files import Part, Place
from speechless.data.places import places
from speechless.entry import run
from speechless.environment import caches
from speechless.errors import StageError, words_of
from speechless.finetune import card, context
from speechless.finetune.flags import Flags, parse
from speechless.finetune.outputs import Outputs
from speechless.finetune.run import Request, train
from speechless.output import Results, results
from speechless.progress import Reporter, showing
from speechless.store import FolderCheckpoints, digest_tree, sampled_digest
from speechless.store.modelcheck import check_model, described
from speechless.store.models import existing_model
from speechless.store.words import Here

log = logging.getLogger("speechless.finetune")
SAME_SIGNAL_SECONDS = 2.0


def main(argv: Sequence[str]) -> int:
    """Train by flags and return the exit status."""
    flags = parse(argv)
    if int(os.environ.get("WORLD_SIZE") or 1) > 1:
        what = "started by torchrun as one of several processes: training on several GPUs is not offered yet"
        print(f"speechless finetune: {what} (start one: NUM_GPUS=1)", file=sys.stderr)
        return 2
    return run_flags(flags)


def run_flags(flags: Flags) -> int:
    """Train, by flags or by what stands for them, and return the exit status."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s", force=True)
    outputs = Outputs(flags.output_dir)
    with results(flags.output) as out:
        if flags.dry_run:
            return _plan(flags, outputs, out)
        status = _run(flags, outputs)
        if status is None:
            out.show(
                outputs.summary(trained=False),
                f"{flags.output_dir} holds a completed run; --restart trains again",
            )
            return 0
        if status == 0:
            out.show(outputs.summary(trained=True))
        return status


def _plan(flags: Flags, outputs: Outputs, out: Results) -> int:
    """Print what a run would do; nothing is written."""
    from speechless.finetune import plan

    try:
        with showing() as reporter:
            inputs = _inputs(flags, reporter)
        identity = identity_of(flags, inputs.model.path, inputs.digests)
        found = plan.Found(inputs.model.path, inputs.model.said, inputs.data, identity)
        made = plan.plan(flags, found, outputs)
    except (StageError, OSError) as error:
        return _failed(error)
    out.show(made, "\n".join(plan.lines(made)))
    if flags.output == "text":
        print(f"\n{made.row.where}:")
        show.print_row([(piece.text, piece.learned) for piece in made.row.pieces])
    return 0


def _failed(error: StageError | OSError) -> int:
    """Say what is wrong, in one line; the exit status."""
    if isinstance(error, OSError):
        print(f"speechless finetune: {words_of(error)}", file=sys.stderr)
        return 1
    told = f"speechless finetune: {error.message}" + (f" ({error.hint})" if error.hint else "")
    print(told, file=sys.stderr)
    return 2 if error.reason is FailureReason.INVALID_SPEC else 1


def _run(flags: Flags, outputs: Outputs) -> int | None:
    """The exit status; None: the run was completed before."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with showing() as reporter:
            handler = _handler(reporter)  # one for both: Ctrl-C may be passed on as SIGTERM
            for number in before:
                signal.signal(number, handler)
            return 0 if _train(flags, outputs, reporter) else None
    except (StageError, OSError) as error:
        return _failed(error)
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def _train(flags: Flags, outputs: Outputs, reporter: Reporter) -> bool:
    """Check every row, train, and put the result into its place; False: that was done before.

    Nothing of an earlier run is touched before everything that this one needs was read.
    """
    # Before anything is written: a folder that is refused stays as it is.
    if outputs.completed_before and not flags.restart:
        return False
    outputs.refuse_foreign()
    with (
        ExitStack() as stack,
        outputs.held(),
        tempfile.TemporaryDirectory(prefix="speechless-finetune-") as scratch,
    ):
        if flags.task:
            stack.enter_context(_logged(outputs.log_file(flags.task)))
        request = _request(flags, outputs, reporter, Path(scratch))
        done = outputs.completed and not flags.restart
        if not flags.restart and (other := outputs.difference(request.identity)):
            kind = "a completed run" if done else "a run"
            what = f"{outputs.folder} holds {kind} of other settings or other data ({other})"
            raise StageError(
                FailureReason.INVALID_SPEC, what, "choose another --output_dir, or remove it with --restart"
            )
        if done:
            return False

        def progress(step: int, total: int, values: Mapping[str, float]) -> None:
            outputs.step(step, total, values)
            reporter.progress(step, total, values)

        def settled() -> None:
            outputs.begin(request.identity, restart=flags.restart)

        def begin() -> None:
            reporter.enter(ProgressPhase.WORKING, f"{request.data.train_rows} rows")

        reporter.enter(ProgressPhase.FETCHING, "making tokens of the rows")
        outcome = train(
            request, progress, reporter.stopping, encoding=reporter.progress, begin=begin, settled=settled
        )
        card.write(outputs.partial, _card(flags, request), outcome)
        result = outputs.finish(outcome, flags.method)
        reporter.enter(ProgressPhase.DONE, str(result))
        return True


class Inputs(NamedTuple):
    """What a run reads."""

    model: Here
    data: Survey
    digests: list[str]
    """What tells the rows from others."""


def _inputs(flags: Flags, reporter: Reporter) -> Inputs:
    """Bring and check them."""
    reporter.enter(ProgressPhase.FETCHING, f"reading {flags.dataset}")
    dataset = places(flags.dataset, flags.part, tick=reporter.reading(f"reading {flags.dataset}"))
    data = survey(
        dataset,
        flags.dataset_format,
        seed=flags.hyperparameters.seed,
        max_samples=flags.max_train_samples or None,
        eval_rows=flags.eval_dataset_size,
        max_eval_rows=flags.max_eval_samples,
        bad_rows=flags.bad_rows,
        check=reporter.check,
    )
    reporter.enter(ProgressPhase.FETCHING, f"reading {flags.model}")
    # After the rows: it may be a download.
    base = existing_model(flags.model, tick=reporter.reading(f"reading {flags.model}"))
    judge = TRAINING[flags.objective].problem_of
    tokens = None if flags.rope_scaling else flags.hyperparameters.max_length
    check_model(base.path, base.said, judge, tokens=tokens)
    context.check(base.path, flags.of_the_model)
    return Inputs(base, data, [json.dumps(told) for place in dataset for told in _told(place)])


def _request(flags: Flags, outputs: Outputs, reporter: Reporter, scratch: Path) -> Request:
    base, data, digests = _inputs(flags, reporter)
    return Request(
        model=base.path,
        data=data,
        digests=digests,
        objective=flags.objective,
        options=flags.options,
        method=flags.method,
        hyperparameters=flags.hyperparameters,
        lora=flags.lora,
        experts=flags.experts,
        rope_scaling=flags.rope_scaling,
        tokenizer=flags.tokenizer,
        qlora=flags.qlora,
        out=outputs.partial,
        checkpoints=FolderCheckpoints(outputs.folder),
        scratch=scratch,
        rows=caches() / "rows",
        every_steps=flags.save_steps,
        every_epoch=flags.save_every_epoch,
        keep=flags.save_total_limit,
        logging_steps=flags.logging_steps,
        precision=flags.precision,
        base_name=base.said,
        skip_bad_rows=flags.bad_rows is BadRows.SKIP,
        extras=flags.extras,
        tracking=flags.tracking,
        reports=outputs.reports,
        restart=flags.restart,
        identity=identity_of(flags, base.path, digests),
    )


def _card(flags: Flags, request: Request) -> card.Card:
    """What the model card says beside the numbers."""
    told = dict(request.identity)
    model = str(told.pop("model"))
    digests = "\n".join(request.digests)
    told.pop("dataset")
    info = described(request.model, Format.HUGGING_FACE)
    return card.Card(
        base=request.base_name,
        base_digest=f"{model} (of a sample)",
        data=flags.dataset,
        data_digest=hashlib.sha256(digests.encode()).hexdigest(),
        objective=flags.objective,
        method=flags.method,
        settings=told,
        licence=(info.license if info else None) or "",
        adapter=METHODS[flags.method].adapters,
    )


def identity_of(flags: Flags, folder: Path, digests: Sequence[str]) -> dict[str, JsonValue]:
    """What makes this run another run."""
    told: dict[str, JsonValue] = {
        "model": sampled_digest(folder),
        "dataset": list(digests),
        "rows": [flags.dataset_format.value, flags.bad_rows.value],
        "objective": [flags.objective.value, flags.options.model_dump(mode="json") if flags.options else {}],
        "method": flags.method.value,
        "hyperparameters": flags.hyperparameters.model_dump(mode="json"),
        "lora": flags.lora.model_dump(mode="json"),
        "precision": flags.precision.value,
        "samples": [flags.max_train_samples, flags.eval_dataset_size, flags.max_eval_samples],
    }
    # Only where there are some: runs of earlier versions go on.
    if METHODS[flags.method].quantized:
        told["qlora"] = flags.qlora.model_dump(mode="json")
    told |= {"extras": flags.extras.deciding} if flags.extras.deciding else {}
    told |= {"experts": flags.experts.model_dump(mode="json")} if flags.experts else {}
    words = flags.tokenizer.model_dump(mode="json", exclude_defaults=True)
    told |= {"tokenizer": words} if words else {}
    scaling = flags.rope_scaling
    return told | ({"ropeScaling": scaling.model_dump(mode="json")} if scaling else {})


@contextmanager
def _logged(file: Path) -> Iterator[None]:
    """Write the log to a file, too."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()


def _told(place: Place) -> list[JsonValue]:
    """What tells rows from others: their bytes, and which of a file's they are."""
    if not isinstance(place, Part):
        return [digest_tree(place)[0]]
    return [digest_tree(place.path)[0], *([] if place.whole else [place.start, place.stop])]


def _handler(
    reporter: Reporter, clock: Callable[[], float] = time.monotonic
) -> Callable[[int, FrameType | None], None]:
    """The first signal asks the run to save and end; a later one ends it at once.

    Ctrl-C comes more than once: from the terminal to all processes in front, and from each launcher that passes it on.
    """
    first: list[float] = []

    def handle(number: int, _: FrameType | None) -> None:
        if not first:
            first.append(clock())
            reporter.stop()
            log.warning(
                "%s: stopping, what was trained is saved; once more to end at once",
                signal.Signals(number).name,
            )
        elif clock() - first[0] > SAME_SIGNAL_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    return handle


if __name__ == "__main__":
    run("finetune", lambda: main(sys.argv[1:]))
