"""The stage `evaluate`: score a model with suites."""

from collections.abc import Mapping
from pathlib import Path

from speechless.contract import EvaluateSpec, FailureReason, Format, Source, Suite
from speechless.contract.suites import SUITES
from speechless.data.splits import one_file
from speechless.errors import StageError
from speechless.progress import Reporter
from speechless.stage.frame import Definition, StageOutput
from speechless.store import Opened
from speechless.store.words import DataPart


def sources(spec: EvaluateSpec) -> Mapping[str, Source]:
    """The model and every suite's data."""
    names = [suite.name for suite in spec.suites]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise StageError(FailureReason.INVALID_SPEC, f"suites: two are named {twice}", "name each suite once")
    return {"model": spec.model} | {f"suite/{suite.name}": suite.data for suite in spec.suites}


def work(spec: EvaluateSpec, inputs: Mapping[str, Opened], folder: Path, reporter: Reporter) -> StageOutput:
    """Run the suites; an evaluation that scored nothing is a failure."""
    from speechless.eval.run import evaluate

    out = folder / "report"
    out.mkdir()
    metrics = evaluate(
        model=inputs["model"].path,
        suites=spec.suites,
        data={suite.name: _data(suite, inputs, folder / "data") for suite in spec.suites},
        out=out,
        allow_code_execution=spec.allow_code_execution,
        progress=reporter.progress,
        stopping=reporter.stopping,
    )
    reporter.check()
    if not metrics:
        raise StageError(FailureReason.NOTHING_SCORED, "no suite gave a score", "look at the suites' data")
    return StageOutput(out, Format.REPORT, metrics)


def _data(suite: Suite, inputs: Mapping[str, Opened], into: Path) -> Path:
    """A suite's data, out of a dataset if a part of one is asked for."""
    part, path = DataPart(suite.data.config, suite.data.split), inputs[f"suite/{suite.name}"].path
    return one_file(path, part, suite.data.uri, into / suite.name, text=SUITES[suite.type].text_data)


STAGE = Definition(sources, work, packages=("torch", "transformers", "tokenizers", "xllamacpp"))
