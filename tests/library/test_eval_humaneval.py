"""HumanEval for real: the published data, and a model from disk through the evaluate stage's function."""

import json
from pathlib import Path

import pytest

from speechless.contract import DataSource, Suite, SuiteType
from speechless.eval.humaneval.__main__ import main
from speechless.eval.humaneval.problems import read_problems
from speechless.eval.humaneval.score import check_reference
from speechless.eval.run import evaluate
from speechless.eval.sandbox.model import Limits
from speechless.eval.sandbox.pool import probe
from tests.library.needs import needs_llama_server, needs_tool
from tests.support.benchmarks import benchmark

pytest_plugins = ("tests.library.model_fixtures",)
pytestmark = pytest.mark.timeout(600)


def test_all_164_canonical_solutions_pass() -> None:
    problems = read_problems(benchmark("humaneval/HumanEval.jsonl.gz"))
    assert check_reference(problems, Limits(cpu_seconds=20), probe()) == 164


@pytest.fixture
def suites(tmp_path: Path, text_file: Path) -> tuple[list[Suite], dict[str, Path]]:
    """Two tasks of code and a text."""
    rows = [
        {
            "task_id": f"t/{number}",
            "prompt": f"def f{number}():\n",
            "entry_point": f"f{number}",
            "test": "def check(candidate):\n    pass",
            "canonical_solution": "    return 1",
        }
        for number in range(2)
    ]
    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    nowhere = DataSource(uri="file:///nowhere")
    made = [
        Suite(name="code", type=SuiteType.HUMANEVAL, data=nowhere, max_tokens=8),
        Suite(name="text", type=SuiteType.PERPLEXITY, data=nowhere),
    ]
    return made, {"code": tmp_path / "tasks.jsonl", "text": text_file}


@pytest.mark.parametrize("kind", ["model", "f16"])
def test_a_model_is_scored_and_scored_alike_again(
    kind: str,
    request: pytest.FixtureRequest,
    suites: tuple[list[Suite], dict[str, Path]],
    tmp_path: Path,
) -> None:
    model: Path = request.getfixturevalue(kind)
    if kind == "f16":
        needs_llama_server()
        needs_tool("llama-perplexity")
    found = [
        evaluate(
            model=model,
            suites=suites[0],
            data=suites[1],
            out=tmp_path / name,
            allow_code_execution=True,
            progress=lambda *_step: None,
            stopping=lambda: False,
        )
        for name in ("a", "b")
    ]
    assert found[0] == found[1]
    names = {metric.name: metric.value for metric in found[0]}
    assert {"code/pass@1", "code/samples", "code/errors", "text/perplexity", "text/samples"} <= set(names)
    assert names["text/perplexity"] > 1
    for file in ("report.json", "code/samples.jsonl", "code/samples.jsonl_results.jsonl"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_sampled_in_ranges_as_at_once(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        {"task_id": f"t/{number}", "prompt": f"def f{number}():\n", "entry_point": f"f{number}", "test": ""}
        for number in range(5)
    ]
    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["--model", str(model), "--data", "tasks.jsonl", "--do_gen", "--max_len", "6", "--n_samples", "2",
             "--temperature", "1", "--gen_batch_size", "4"]  # fmt: skip
    assert main([*words, "--output_dir", "whole"]) == 0
    for part in (["--start_index", "2"], ["--end_index", "2"]):
        assert main([*words, "--output_dir", "parts", *part]) == 0
    whole, parts = (
        (tmp_path / name / "humaneval_samples.jsonl").read_text().splitlines() for name in ("whole", "parts")
    )
    assert sorted(parts) == sorted(whole)
    assert len(set(whole)) > 5, "samples of one problem differ"
