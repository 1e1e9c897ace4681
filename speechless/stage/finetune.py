"""The stage `finetune`: train a model on a dataset; publish the model, or the adapter alone."""

from collections.abc import Mapping
from pathlib import Path

from speechless.contract import FailureReason, FineTuneSpec, Format, Lora, Method, Source, decisive
from speechless.contract.objectives import OBJECTIVES
from speechless.data import survey
from speechless.data.splits import chosen
from speechless.errors import StageError
from speechless.finetune.job import Job
from speechless.progress import Reporter
from speechless.stage import provenance
from speechless.stage.frame import Definition, StageOutput, checkpoints
from speechless.store import Opened
from speechless.store.words import DataPart


def sources(spec: FineTuneSpec) -> Mapping[str, Source]:
    """The base model and the rows."""
    return {"model": spec.model, "dataset": spec.dataset}


def work(spec: FineTuneSpec, inputs: Mapping[str, Opened], folder: Path, reporter: Reporter) -> StageOutput:
    """Check every row, train, and merge what was trained."""
    from speechless.finetune import harness

    model, rows = inputs["model"], inputs["dataset"]
    if model.manifest and model.manifest.format is not Format.HUGGING_FACE:
        raise StageError(
            FailureReason.MODEL_INVALID,
            f"{spec.model.uri}: the artifact's format is {model.manifest.format}, not {Format.HUGGING_FACE}",
            "train a whole model: one that was merged (merge: true) and not quantized",
        )
    seed = spec.hyperparameters.seed
    part = DataPart(spec.dataset.config, spec.dataset.split)
    data = survey(
        chosen(rows.path, part, spec.dataset.uri),
        spec.dataset.format,
        seed=seed,
        max_samples=spec.dataset.max_samples,
        eval_rows=spec.dataset.eval_fraction,
        bad_rows=spec.dataset.bad_rows,
    )
    trained = folder / "trained"
    job = Job(
        model=model.path,
        data=data,
        objective=spec.objective,
        options=getattr(spec, row.options) if (row := OBJECTIVES[spec.objective]).options else None,
        method=spec.method,
        hyperparameters=spec.hyperparameters,
        lora=spec.lora or Lora(),
        out=trained,
        checkpoints=checkpoints(spec, folder),
        scratch=folder,
        every_steps=spec.checkpoints.every_steps,
        keep=spec.checkpoints.keep,
        base_name=spec.model.uri,
        identity={
            "parameters": decisive(spec),
            "inputs": {role: opened.digest for role, opened in inputs.items()},
            "versions": {**provenance.versions(PACKAGES)},
        },
    )
    outcome = harness.train(job, reporter.progress, reporter.stopping)
    settings = {**outcome.settings, "resumedFrom": outcome.resumed_from}
    if spec.method is Method.FULL or not spec.merge:
        held = Format.HUGGING_FACE if spec.method is Method.FULL else Format.ADAPTER
        return StageOutput(trained, held, outcome.metrics, seed, settings)
    from speechless.finetune.merge import merge

    merged = folder / "merged"
    metrics = (*outcome.metrics, *merge(model.path, trained, merged))
    return StageOutput(merged, Format.HUGGING_FACE, metrics, seed, settings)


PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers", "safetensors")
STAGE = Definition(sources, work, PACKAGES, checkpoints=True)
