"""The suite that measures perplexity over a text file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from speechless.contract import Metric, Suite
from speechless.eval.humaneval.problems import data_file
from speechless.eval.report import PerplexitySuite, SuiteReport, sha256_of
from speechless.generate.perplexity import measure

STEPS = 100
"""The suite's share of the evaluation's steps: how many windows there are is known only when it runs."""


def run(
    suite: Suite,
    data: Path,
    model: Path,
    *,
    progress: Callable[[int, tuple[Metric, ...]], None],
    stopping: Callable[[], bool],
) -> SuiteReport:
    """Run one suite; `progress` gets steps of STEPS and the metrics so far."""
    file = data_file(data, ("*.txt",))
    found = measure(
        model,
        file,
        most=suite.limit,
        progress=lambda done, total: progress(done * STEPS // total, ()),
        stopping=stopping,
    )
    scores = (
        Metric(name=f"{suite.name}/perplexity", value=found.value),
        Metric(name=f"{suite.name}/samples", value=found.windows),
        Metric(name=f"{suite.name}/tokens", value=found.tokens),
        Metric(name=f"{suite.name}/errors", value=0),
    )
    progress(STEPS, scores)
    return SuiteReport(
        name=suite.name,
        data_name=file.name,
        data_sha256=sha256_of(file),
        generator="perplexity",
        metrics=scores,
        detail=PerplexitySuite(tokens=found.tokens, context=found.context, windows=found.windows),
    )
