"""The suite that measures perplexity over a text file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from speechless.contract import Metric, Suite, SuiteType
from speechless.eval.humaneval.problems import data_file
from speechless.eval.report import Detail as Base
from speechless.eval.report import SuiteReport, sha256_of
from speechless.eval.suites import Running
from speechless.generate.perplexity import measure

STEPS = 100
"""The suite's share of the evaluation's steps: how many windows there are is known only when it runs."""


class Detail(Base):
    """What was measured."""

    kind: Literal["perplexity"] = "perplexity"
    type: str = SuiteType.PERPLEXITY
    tokens: int
    """Scored ones."""
    context: int
    windows: int


def load(_suite: Suite, data: Path) -> Path:
    """The text file."""
    return data_file(data, ("*.txt",))


def steps(_suite: Suite, _file: Path) -> int:
    """STEPS."""
    return STEPS


def context(_suite: Suite, _file: Path) -> None:
    """It loads the model in a way of its own."""
    return


def run(suite: Suite, file: Path, how: Running) -> SuiteReport:
    """Measure it over the text."""
    found = measure(
        how.model,
        file,
        most=suite.limit,
        progress=lambda done, total: how.progress(done * STEPS // total, ()),
        stopping=how.stopping,
    )
    scores = (
        Metric(name=f"{suite.name}/perplexity", value=found.value),
        Metric(name=f"{suite.name}/samples", value=found.windows),
        Metric(name=f"{suite.name}/tokens", value=found.tokens),
        Metric(name=f"{suite.name}/errors", value=0),
    )
    how.progress(STEPS, scores)
    return SuiteReport(
        name=suite.name,
        data_name=file.name,
        data_sha256=sha256_of(file),
        generator="perplexity",
        metrics=scores,
        detail=Detail(tokens=found.tokens, context=found.context, windows=found.windows),
    )
