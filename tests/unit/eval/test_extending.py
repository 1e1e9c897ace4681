"""The suite of docs/extending.md: two rows and its module, and an evaluation runs it."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from speechless.contract import DataSource, Suite, suites
from speechless.errors import StageError
from speechless.eval import run as module
from speechless.eval.report import Report
from speechless.eval.run import evaluate
from speechless.eval.suites import MODULES
from speechless.generate import Completion
from tests.docs.pages import blocks
from tests.support.gguf import write_gguf


class Echo:
    """Answers with the last word of the prompt."""

    name, versions = "echo", {"echo": "1"}

    def __enter__(self) -> "Echo":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to free."""

    def complete(self, prompts: list[str], *_: Any, **__: Any) -> list[Completion]:
        return [Completion(prompt.split()[-1], 1, 1, "stop") for prompt in prompts]


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's row and module, in the tables."""
    row, text = (
        block.text
        for block in blocks()
        if block.place.startswith("docs/extending.md:")
        and block.language == "python"
        and "ExactMatch" in block.text
    )
    (kind,) = eval(row, {"SuiteKind": suites.SuiteKind})
    made = ModuleType("exact_match_of_the_page")
    exec(text, made.__dict__)
    monkeypatch.setitem(sys.modules, made.__name__, made)
    monkeypatch.setitem(suites.SUITES, kind.name, kind)
    monkeypatch.setitem(MODULES, kind.name, made.__name__)
    monkeypatch.setattr(module, "open_generator", lambda _model, **_settings: Echo())


def go(rows: list[Any], folder: Path) -> dict[str, float]:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    suite = Suite(name="answers", type="ExactMatch", data=DataSource(uri="file:///x"), max_tokens=8)
    metrics = evaluate(
        model=write_gguf(folder / "m.gguf"),
        suites=[suite],
        data={"answers": folder / "rows.jsonl"},
        out=folder / "out",
        allow_code_execution=False,
        progress=lambda *_: None,
        stopping=lambda: False,
    )
    return {metric.name: metric.value for metric in metrics}


@pytest.mark.usefixtures("example")
def test_the_suite_of_the_page_runs_and_its_report_is_read(tmp_path: Path) -> None:
    rows = [{"prompt": "say yes", "answer": "yes"}, {"prompt": "say yes", "answer": "no"}]
    assert go(rows, tmp_path) == {"answers/accuracy": 0.5, "answers/samples": 2, "answers/errors": 0}
    report = Report.model_validate_json((tmp_path / "out" / "report.json").read_text())
    assert report.suites[0].detail.model_dump() == {"kind": "exact_match", "type": "ExactMatch", "matched": 1}


@pytest.mark.usefixtures("example")
def test_its_mistakes_name_the_line(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"rows\.jsonl:2: Field required"):
        go([{"prompt": "a", "answer": "b"}, {"prompt": "a"}], tmp_path)


def test_every_kind_has_a_module() -> None:
    assert set(MODULES) == set(suites.SUITES)
