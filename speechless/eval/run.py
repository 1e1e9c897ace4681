"""Score a model on suites: what the evaluate stage does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from speechless.contract import FailureReason, Metric, Suite, SuiteType
from speechless.contract import suites as kinds
from speechless.errors import StageError
from speechless.eval import perplexity
from speechless.eval.humaneval import suite as humaneval
from speechless.eval.report import Report, SuiteReport, own_versions
from speechless.eval.sandbox import pool
from speechless.generate import find_model, open_generator

CODE, TEXT = SuiteType.HUMANEVAL, SuiteType.PERPLEXITY


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
    code = [suite for suite in suites if suite.type == CODE]
    loaded = {suite.name: humaneval.load(suite, data[suite.name])[1] for suite in code}
    sizes = {
        suite.name: 2 * len(loaded[suite.name]) * suite.samples_per_task
        if suite.name in loaded
        else perplexity.STEPS
        for suite in suites
    }
    steps = _Steps(sum(sizes.values()), progress)
    reports: dict[str, SuiteReport] = {}
    versions = own_versions()
    if code:
        isolation = pool.probe()
        context = max(humaneval.tokens_needed(loaded[suite.name], suite.max_tokens) for suite in code)
        with open_generator(model, context_length=context) as generator:
            versions |= generator.versions
            for suite in code:
                reports[suite.name] = humaneval.run(
                    suite,
                    data[suite.name],
                    out / suite.name,
                    generator,
                    isolation,
                    progress=steps.follow,
                    stopping=stopping,
                )
                steps.advance(sizes[suite.name])
    # After the code suites: the model is loaded anew, and there may be room for one only.
    for suite in suites:
        if suite.name not in reports:
            reports[suite.name] = perplexity.run(
                suite, data[suite.name], model, progress=steps.follow, stopping=stopping
            )
            steps.advance(sizes[suite.name])
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
        if suite.type not in (CODE, TEXT):
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
