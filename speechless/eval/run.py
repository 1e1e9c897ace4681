"""Score a model on suites: what the evaluate stage does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from speechless.contract import FailureReason, Metric, Suite
from speechless.contract import suites as kinds
from speechless.errors import StageError
from speechless.eval.report import Report, SuiteReport, own_versions
from speechless.eval.suites import Module, Running, module_of
from speechless.generate import Generator, find_model, open_generator


class _Job(NamedTuple):
    """A suite that is about to run."""

    suite: Suite
    module: Module
    loaded: Any
    steps: int
    context: int | None

    @classmethod
    def of(cls, suite: Suite, data: Path) -> _Job:
        """With its data read."""
        module = module_of(suite.type)
        assert module is not None
        loaded = module.load(suite, data)
        return cls(suite, module, loaded, module.steps(suite, loaded), module.context(suite, loaded))


def evaluate(
    *,
    model: Path,
    suites: Sequence[Suite],
    data: Mapping[str, Path],
    out: Path,
    allow_code_execution: bool,
    progress: Callable[[int, int, dict[str, float]], None],
    stopping: Callable[[], bool],
) -> list[Metric]:
    """Run every suite on the model and return the metrics, each with its suite's name as prefix.

    `data`: suite name to its file. Writes `out/<suite>/` and `out/report.json`. `progress` gets steps done, all steps
    and the metrics so far. `StageError`: `CODE_EXECUTION_NOT_ALLOWED`, `NOTHING_SCORED`, `INTERRUPTED`, or what is
    wrong with model and data.
    """
    _check(suites, data, allow_code_execution)
    files = find_model(model)
    jobs = [_Job.of(suite, data[suite.name]) for suite in suites]
    steps = _Steps(sum(job.steps for job in jobs), progress)
    reports: dict[str, SuiteReport] = {}
    versions = own_versions()

    def run(job: _Job, generator: Generator | None) -> None:
        how = Running(model, generator, out / job.suite.name, steps.follow, stopping)
        reports[job.suite.name] = job.module.run(job.suite, job.loaded, how)
        steps.advance(job.steps)

    contexts = [job.context for job in jobs if job.context is not None]
    if contexts:
        with open_generator(model, context_length=max(contexts)) as generator:
            versions |= generator.versions
            for job in (job for job in jobs if job.context is not None):
                run(job, generator)
    # After the others: these load the model in their own way, and there may be room for one only.
    for job in (job for job in jobs if job.context is None):
        run(job, None)
    ordered = tuple(reports[suite.name] for suite in suites)
    out.mkdir(parents=True, exist_ok=True)
    Report(model_kind=files.kind, suites=ordered, versions=dict(sorted(versions.items()))).write(
        out / "report.json"
    )
    return [metric for report in ordered for metric in report.metrics]


def _check(suites: Sequence[Suite], data: Mapping[str, Path], allow_code_execution: bool) -> None:
    """Refuse what cannot end well before anything is loaded."""
    if not suites:
        raise StageError(FailureReason.NOTHING_SCORED, "no suites were given", "Name at least one suite.")
    names = [suite.name for suite in suites]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise StageError(FailureReason.INVALID_SPEC, f"suites: the name {twice[0]} occurs twice")
    for suite in suites:
        if suite.name not in data:
            raise StageError(FailureReason.INVALID_SPEC, f"suites.{suite.name}: no data were given")
        if module_of(suite.type) is None:
            raise StageError(
                FailureReason.INVALID_SPEC, f"suites.{suite.name}: this version does not run {suite.type}"
            )
        if kinds.executes_code(suite.type) and not allow_code_execution:
            raise StageError(
                FailureReason.CODE_EXECUTION_NOT_ALLOWED,
                f"suites.{suite.name}: {suite.type} runs programs that the model wrote, which is not allowed",
                "Set allowCodeExecution to true if this machine or pod may run them.",
            )


class _Steps:
    """Progress over all suites, made of each suite's own."""

    def __init__(self, total: int, progress: Callable[[int, int, dict[str, float]], None]) -> None:
        self._total = total
        self._progress = progress
        self._before = 0
        self._metrics: dict[str, float] = {}

    def follow(self, done: int, metrics: tuple[Metric, ...]) -> None:
        """Steps of the suite that runs now."""
        self._metrics |= {metric.name: metric.value for metric in metrics}
        self._progress(self._before + done, self._total, dict(self._metrics))

    def advance(self, size: int) -> None:
        """A suite ended."""
        self._before += size
