"""The stage `finetune`: train a model on a dataset; publish the model, or the adapter alone."""

from collections.abc import Mapping
from pathlib import Path

from speechless.contract import (
    METHODS,
    BadRows,
    FineTuneSpec,
    Format,
    Lora,
    ProgressPhase,
    Qlora,
    Source,
    decisive,
)
from speechless.contract.objectives import OBJECTIVES
from speechless.contract.tracking import Tracking
from speechless.data import survey
from speechless.data.splits import chosen
from speechless.finetune import card
from speechless.finetune.run import Request, train
from speechless.progress import Reporter
from speechless.stage import provenance
from speechless.stage.frame import Definition, StageOutput, checkpoints
from speechless.store import Opened
from speechless.store.modelcheck import described
from speechless.store.words import DataPart


def sources(spec: FineTuneSpec) -> Mapping[str, Source]:
    """The base model and the rows."""
    return {"model": spec.model, "dataset": spec.dataset}


def work(spec: FineTuneSpec, inputs: Mapping[str, Opened], folder: Path, reporter: Reporter) -> StageOutput:
    """Check every row, train, and merge what was trained."""
    model, rows = inputs["model"], inputs["dataset"]
    seed = spec.hyperparameters.seed
    part = DataPart(spec.dataset.config, spec.dataset.split)
    data = survey(
        chosen(rows.path, part, spec.dataset.uri),
        spec.dataset.format,
        seed=seed,
        max_samples=spec.dataset.max_samples,
        eval_rows=spec.dataset.eval_fraction,
        bad_rows=spec.dataset.bad_rows,
        check=reporter.check,
    )
    trained = folder / "trained"
    request = Request(
        model=model.path,
        data=data,
        digests=[rows.digest],
        objective=spec.objective,
        options=getattr(spec, row.options) if (row := OBJECTIVES[spec.objective]).options else None,
        method=spec.method,
        hyperparameters=spec.hyperparameters,
        lora=spec.lora or Lora(),
        experts=spec.experts,
        rope_scaling=spec.rope_scaling,
        tokenizer=spec.tokenizer,
        qlora=spec.qlora or Qlora(),
        out=trained,
        checkpoints=checkpoints(spec, folder),
        scratch=folder,
        rows=Path(spec.work_dir) / "rows",
        every_steps=spec.checkpoints.every_steps,
        every_epoch=spec.checkpoints.every_epoch,
        keep=spec.checkpoints.keep,
        precision=spec.precision,
        base_name=spec.model.uri,
        tracking=_tracking(spec),
        skip_bad_rows=spec.dataset.bad_rows is BadRows.SKIP,
        identity={
            "parameters": decisive(spec),
            "inputs": {role: opened.digest for role, opened in inputs.items()},
            "versions": {**provenance.versions(PACKAGES)},
        },
    )
    reporter.enter(ProgressPhase.FETCHING, "making tokens of the rows")

    def begin() -> None:
        reporter.enter(ProgressPhase.WORKING, f"{data.train_rows} rows")

    outcome = train(request, reporter.progress, reporter.stopping, encoding=reporter.progress, begin=begin)
    settings = {**outcome.settings, "resumedFrom": outcome.resumed_from}
    adapters = METHODS[spec.method].adapters
    if not (adapters and spec.merge):
        held = Format.ADAPTER if adapters else Format.HUGGING_FACE
        card.write(trained, _card(spec, inputs, adapter=held is Format.ADAPTER), outcome)
        return StageOutput(trained, held, outcome.metrics, seed, settings)
    # What was trained is in the last checkpoint: a new attempt takes it up, and merges.
    reporter.check()
    from speechless.finetune.merge import merge

    merged = folder / "merged"
    metrics = (*outcome.metrics, *merge(model.path, trained, merged, reporter.stopping))
    card.write(merged, _card(spec, inputs, adapter=False), outcome)
    return StageOutput(merged, Format.HUGGING_FACE, metrics, seed, settings)


def _tracking(spec: FineTuneSpec) -> Tracking:
    """The run's name is the resource's, unless it has one of its own."""
    told = spec.tracking
    if not told.report_to or told.run_name:
        return told
    name = "/".join(filter(None, (spec.run.namespace, spec.run.name)))
    return told.model_copy(update={"run_name": name or None})


def _card(spec: FineTuneSpec, inputs: Mapping[str, Opened], *, adapter: bool) -> card.Card:
    """What the model card says beside the numbers."""
    model, rows = inputs["model"], inputs["dataset"]
    info = (model.manifest.model if model.manifest else None) or described(model.path, Format.HUGGING_FACE)
    told = {name: value for name, value in decisive(spec).items() if name not in ("model", "dataset")}
    return card.Card(
        base=spec.model.uri,
        base_digest=model.digest,
        data=spec.dataset.uri,
        data_digest=rows.digest,
        objective=spec.objective,
        method=spec.method,
        settings=told,
        licence=(info.license if info else None) or "",
        adapter=adapter,
    )


PACKAGES = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "tokenizers",
    "safetensors",
    "bitsandbytes",
)
STAGE = Definition(sources, work, PACKAGES, checkpoints=True)
