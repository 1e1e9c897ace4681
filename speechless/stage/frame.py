"""The same for every stage: is the output published already? fetch and verify, work, publish, report.

A stage brings a `Definition`: its inputs and its work. Everything about stores, progress, signals and results is here.
"""

import logging
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import JsonValue

from speechless.contract import (
    Artifact,
    BaseModelInfo,
    EvaluateSpec,
    FailureReason,
    FetchSpec,
    FineTuneSpec,
    Format,
    InputRecord,
    Manifest,
    Metric,
    ModelInfo,
    Outcome,
    ProgressPhase,
    Publishing,
    QuantizeSpec,
    Source,
    Stage,
    StageResult,
)
from speechless.contract.modelinfo import LONGEST_TEXT
from speechless.contract.needs import need_of
from speechless.errors import StageError
from speechless.openmp import settle_threads
from speechless.progress import Reporter
from speechless.stage import provenance
from speechless.stage.waiting import await_source
from speechless.store import Access, Checkpoints, ManifestFields, Opened, Published, Store, hub, store_for
from speechless.store.modelcheck import check_model, described

log = logging.getLogger("speechless.stage")

USED = "used"

Spec = TypeVar("Spec", FetchSpec, FineTuneSpec, EvaluateSpec, QuantizeSpec)


@dataclass(frozen=True)
class StageOutput:
    """What the work made."""

    folder: Path
    """The files to publish: a folder, or one file."""
    format: Format
    metrics: Sequence[Metric] = ()
    seed: int | None = None
    extra: Mapping[str, JsonValue] = field(default_factory=dict)
    """Settings that the work chose itself; recorded beside the spec's, under `used`."""
    model: ModelInfo | None = None
    """What model it is, where that is known already; else its files say it."""


@dataclass(frozen=True)
class Definition(Generic[Spec]):
    """A stage: what it reads and what it does."""

    sources: Callable[[Spec], Mapping[str, Source]]
    """Role -> source, such as model, dataset, suite/<name>; every one is verified before the work begins."""
    work: Callable[[Spec, Mapping[str, Opened], Path, Reporter], StageOutput]
    """(spec, inputs by role, an empty folder, reporter). It polls `reporter.stopping()`, and raises
    StageError(INTERRUPTED) if it ends before it is done."""
    packages: Sequence[str] = ()
    """Distributions whose versions are recorded."""
    checkpoints: bool = False
    """Whether the work keeps checkpoints: nobody needs them once the output is published."""


def run(spec: Spec, stage: Definition[Spec], reporter: Reporter) -> StageResult:
    """Run a stage to its published artifact; StageError and whatever the work raises pass through."""
    began = time.monotonic()
    store = output_store(spec)
    reporter.enter(ProgressPhase.FETCHING)
    published = _find(spec, store, reporter)
    if published is None:
        store.prepare(spec.output)
        with scratch(spec.work_dir, spec.stage.value) as folder:
            inputs, records = fetch(stage.sources(spec), access(spec), folder / "inputs", reporter)
            base = check(spec, inputs)
            reporter.enter(ProgressPhase.WORKING)
            work = folder / "work"
            work.mkdir()
            output = stage.work(spec, inputs, work, reporter)
            reporter.enter(ProgressPhase.PUBLISHING, spec.output)
            fields = _fields(spec, stage, output, records)
            fields["model"] = _described(output, inputs, records, base)
            published = store.publish(output.folder, spec.output, fields)
    if stage.checkpoints:
        checkpoints(spec, Path(spec.work_dir)).clear()
    reporter.enter(ProgressPhase.DONE)
    return _result(spec, published, time.monotonic() - began)


def access(spec: Stage) -> Access:
    """How the stage's machine reaches what its URIs mean."""
    return Access(spec.mounts, spec.secrets)


def output_store(spec: Publishing) -> Store:
    """The store that the output goes to."""
    secret = spec.output_secret_ref
    return store_for(spec.output, access(spec), secret.name if secret else None)


def source_store(source: Source, access: Access) -> Store:
    """The store that an input is in."""
    return store_for(source.uri, access, source.secret_ref.name if source.secret_ref else None)


def checkpoints(spec: Publishing, scratch: Path) -> Checkpoints:
    """Those of the run that the spec describes."""
    return output_store(spec).checkpoints(spec.output, scratch / "checkpoints")


def fetch(
    sources: Mapping[str, Source], access: Access, into: Path, reporter: Reporter
) -> tuple[dict[str, Opened], tuple[InputRecord, ...]]:
    """Open and verify every source: by role, and as records with the digests of what was really read.

    What has to be brought to this machine goes below `into`, a folder a role.
    """
    inputs, records = {}, []
    for role, source in sources.items():
        log.info("reading %s: %s", role, source.uri)
        store = source_store(source, access)
        await_source(
            store,
            source,
            waiting=lambda message: reporter.enter(ProgressPhase.FETCHING, message),
            check=reporter.check,
        )
        opened = store.open(source, into / role.replace("/", "-"), tick=reporter.reading(f"reading {role}"))
        inputs[role] = opened
        format_ = opened.manifest.format if opened.manifest else None
        records.append(
            InputRecord(
                name=role, uri=source.uri, digest=opened.digest, format=format_, revision=opened.revision
            )
        )
    reporter.check()
    # From here on: stages read what they were given and nothing else; a library must not look for more on a network.
    hub.go_offline()
    return inputs, tuple(records)


def check(spec: Spec, inputs: Mapping[str, Opened]) -> ModelInfo | None:
    """What is known of the input `model`, if there is one. StageError(MODEL_INVALID): the stage does not take it."""
    model = inputs.get("model")
    if model is None or isinstance(spec, FetchSpec):
        return None
    trains = isinstance(spec, FineTuneSpec) and spec.rope_scaling is None
    tokens = spec.hyperparameters.max_length if trains else None
    judge = need_of(spec).problem_of
    return check_model(model.path, spec.model.uri, judge, manifest=model.manifest, tokens=tokens)


def _described(
    output: StageOutput,
    inputs: Mapping[str, Opened],
    records: Sequence[InputRecord],
    base: ModelInfo | None,
) -> ModelInfo | None:
    """What model the output is. Made of another, it has that one's licence, and its name and digest."""
    made = output.model or described(output.folder, output.format)
    if made is None or "model" not in inputs:
        return made
    known = next(record for record in records if record.name == "model")
    update = {
        "base_model": BaseModelInfo(name=known.uri[:LONGEST_TEXT], digest=known.digest),
        "license": (base.license if base else None) or made.license,
    }
    return made.model_copy(update=update)


@contextmanager
def scratch(work_dir: str, name: str) -> Iterator[Path]:
    """An empty folder of this attempt's own below `work_dir`; libraries keep their caches beside it."""
    root = Path(work_dir)
    try:
        root.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=f"{name}-", dir=root)
    except OSError as error:
        what = f"workDir: {work_dir} cannot be written: {error.strerror}"
        raise StageError(FailureReason.INVALID_SPEC, what, "mount an emptyDir there") from error
    settle_threads()
    os.environ.setdefault("HF_HOME", str(root / "huggingface"))
    with folder as path:
        yield Path(path)


def _find(spec: Spec, store: Store, reporter: Reporter) -> Published | None:
    """What an earlier attempt published, if it was made by the same settings."""
    published = store.find(spec.output, tick=reporter.reading("looking for an earlier attempt's artifact"))
    if published is None:
        return None
    made_by = {name: value for name, value in published.manifest.parameters.items() if name != USED}
    other = provenance.difference(made_by, spec)
    if other:
        raise StageError(
            FailureReason.INVALID_SPEC,
            f"output: {spec.output} holds an artifact of other settings: {other} differs",
            "choose another output, or remove the artifact",
        )
    log.info("%s is published already: %s", spec.output, published.artifact.digest)
    return published


def _fields(
    spec: Spec, stage: Definition[Spec], output: StageOutput, records: tuple[InputRecord, ...]
) -> ManifestFields:
    for metric in output.metrics:
        if not math.isfinite(metric.value):
            log.warning("metric %s is %s: left out, as JSON has no such number", metric.name, metric.value)
    return ManifestFields(
        format=output.format,
        inputs=records,
        parameters={**provenance.parameters(spec), USED: dict(output.extra)},
        versions=provenance.versions(stage.packages),
        metrics=tuple(output.metrics),
        seed=output.seed,
        created_by=provenance.created_by(spec.stage, spec.run),
        created_at=provenance.now(),
    )


def _result(spec: Spec, published: Published, seconds: float) -> StageResult:
    manifest: Manifest = published.manifest
    artifact: Artifact = published.artifact
    log.info("%s: %s, %s, %.2f MB", artifact.uri, artifact.format, artifact.digest, artifact.size_bytes / 1e6)
    return StageResult(
        outcome=Outcome.SUCCEEDED,
        artifact=artifact,
        inputs=manifest.inputs,
        metrics=_ordered(manifest.metrics, gate_metrics(spec)),
        reused=published.reused,
        seconds=round(seconds, 3),
        seed=manifest.seed,
        versions=manifest.versions,
    )


def gate_metrics(spec: object) -> tuple[str, ...]:
    """The metrics that somebody judges by: the result tells them first, and never leaves them out."""
    return spec.gate_metrics if isinstance(spec, EvaluateSpec) else ()


def _ordered(metrics: Sequence[Metric], first: Sequence[str]) -> tuple[Metric, ...]:
    return tuple(sorted(metrics, key=lambda metric: metric.name not in first))
