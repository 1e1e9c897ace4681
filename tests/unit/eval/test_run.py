"""The evaluate stage's work with a model that knows the answers: files, metrics, progress, refusals."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from speechless.contract import DataSource, FailureReason, Suite, SuiteType
from speechless.errors import StageError
from speechless.eval import run as module
from speechless.eval.report import Report
from speechless.eval.run import evaluate
from speechless.generate import Completion, Message, Sampling
from speechless.generate.perplexity import Perplexity
from tests.support.gguf import write_gguf

BODIES = {"one": "    return 1", "two": "    return 2"}


class Oracle:
    """Answers each prompt from a table."""

    name = "oracle"
    versions = {"oracle": "1"}

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers = answers
        self.asked: list[tuple[list[str], Sampling]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to free."""

    def complete(
        self,
        prompts: Sequence[str],
        sampling: Sampling,
        *,
        progress: Callable[[int], None],
        stopping: Callable[[], bool],
    ) -> list[Completion]:
        self.asked.append((list(prompts), sampling))
        if stopping():
            raise StageError(FailureReason.INTERRUPTED, "interrupted")
        progress(len(prompts))
        return [Completion(self.answers[prompt], 3, 4, "stop") for prompt in prompts]

    def chat(
        self, conversations: Sequence[Sequence[Message]], sampling: Sampling, **_more: Any
    ) -> list[Completion]:
        raise NotImplementedError


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, Oracle]:
    """A model's file, problems `one` and `two`, and an oracle that knows the first."""
    rows = [
        {
            "task_id": f"t/{name}",
            "prompt": f"def {name}():\n",
            "entry_point": name,
            "test": f"def check(c):\n    assert c() == {number}",
            "canonical_solution": BODIES[name],
        }
        for number, name in enumerate(BODIES, 1)
    ]
    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    oracle = Oracle({"def one():\n": BODIES["one"], "def two():\n": "    return 7"})
    monkeypatch.setattr(module, "open_generator", lambda _model, **_settings: oracle)
    return write_gguf(tmp_path / "m.gguf"), tmp_path / "tasks.jsonl", oracle


def suite(name: str = "humaneval", **fields: Any) -> Suite:
    return Suite(
        name=name, type=fields.pop("type", SuiteType.HUMANEVAL), data=DataSource(uri="file:///x"), **fields
    )


def go(model: Path, suites: list[Suite], data: dict[str, Path], out: Path, **more: Any) -> dict[str, float]:
    settings: dict[str, Any] = {
        "allow_code_execution": True,
        "progress": lambda *_step: None,
        "stopping": lambda: False,
    }
    metrics = evaluate(model=model, suites=suites, data=data, out=out, **(settings | more))
    return {metric.name: metric.value for metric in metrics}


def test_files_metrics_and_progress(world: tuple[Path, Path, Oracle], tmp_path: Path) -> None:
    model, data, oracle = world
    seen: list[tuple[int, int, dict[str, float]]] = []
    found = go(
        model,
        [suite(max_tokens=9, temperature=0.5, samples_per_task=2, k=(1, 2))],
        {"humaneval": data},
        tmp_path / "out",
        progress=lambda *step: seen.append(step),
    )
    assert found == {
        "humaneval/pass@1": 0.5,
        "humaneval/pass@2": 0.5,
        "humaneval/samples": 4,
        "humaneval/timeouts": 0,
        "humaneval/errors": 0,
    }
    [(prompts, sampling)] = oracle.asked
    assert prompts == ["def one():\n"] * 2 + ["def two():\n"] * 2
    assert (sampling.max_tokens, sampling.temperature) == (9, 0.5)
    assert seen[-1] == (8, 8, found)
    assert [step for step, _, _ in seen] == sorted(step for step, _, _ in seen)
    samples = (tmp_path / "out/humaneval/samples.jsonl").read_text().splitlines()
    assert json.loads(samples[0]) == {"task_id": "t/one", "completion": "    return 1"}
    results = (tmp_path / "out/humaneval/samples.jsonl_results.jsonl").read_text().splitlines()
    assert json.loads(results[3]) == {
        "task_id": "t/two",
        "completion": "    return 7",
        "result": "failed: ",
        "passed": False,
    }
    report = Report.model_validate_json((tmp_path / "out/report.json").read_text())
    detail = report.suites[0].detail
    assert detail.kind == "code"
    assert detail.per_task["t/two"].failed == 2
    assert detail.reference_solutions == 2
    assert report.versions["oracle"] == "1"
    assert str(tmp_path) not in report.model_dump_json()


def test_equal_runs_write_equal_bytes(world: tuple[Path, Path, Oracle], tmp_path: Path) -> None:
    model, data, _ = world
    for name in ("a", "b"):
        go(model, [suite()], {"humaneval": data}, tmp_path / name)
    files = [sorted(path for path in (tmp_path / name).rglob("*") if path.is_file()) for name in ("a", "b")]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]


def test_limit_and_several_suites(
    world: tuple[Path, Path, Oracle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data, _ = world
    (tmp_path / "t.txt").write_text("words")
    monkeypatch.setattr(
        "speechless.eval.perplexity.measure", lambda *_files, **_more: Perplexity(3.5, 100, 64, 4, None)
    )
    suites = [suite("text", type=SuiteType.PERPLEXITY), suite("code", limit=1)]
    seen: list[tuple[int, int]] = []
    found = go(
        model,
        suites,
        {"code": data, "text": tmp_path / "t.txt"},
        tmp_path / "out",
        progress=lambda done, total, _metrics: seen.append((done, total)),
    )
    assert next(iter(found)) == "text/perplexity"
    assert (found["text/perplexity"], found["code/pass@1"], found["code/samples"]) == (3.5, 1.0, 1)
    assert seen[-1] == (102, 102)
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_file()] == ["report.json"]


def test_code_needs_permission_before_anything_is_loaded(
    world: tuple[Path, Path, Oracle], tmp_path: Path
) -> None:
    model, data, oracle = world
    with pytest.raises(StageError, match=r"suites\.humaneval: HumanEval runs programs") as refused:
        go(model, [suite()], {"humaneval": data}, tmp_path / "out", allow_code_execution=False)
    assert refused.value.reason is FailureReason.CODE_EXECUTION_NOT_ALLOWED
    assert oracle.asked == []


def test_empty_completions_are_no_score(world: tuple[Path, Path, Oracle], tmp_path: Path) -> None:
    model, data, oracle = world
    oracle.answers = dict.fromkeys(oracle.answers, "  \n")
    with pytest.raises(StageError, match="all 2 completions are empty") as refused:
        go(model, [suite()], {"humaneval": data}, tmp_path / "out")
    assert refused.value.reason is FailureReason.NOTHING_SCORED


def test_other_refusals(world: tuple[Path, Path, Oracle], tmp_path: Path) -> None:
    model, data, _ = world
    for suites, files, reason in (
        ([], {}, FailureReason.NOTHING_SCORED),
        ([suite("a"), suite("a")], {"a": data}, FailureReason.INVALID_SPEC),
        ([suite("a")], {}, FailureReason.INVALID_SPEC),
    ):
        with pytest.raises(StageError) as refused:
            go(model, suites, files, tmp_path / "out")
        assert refused.value.reason is reason


def test_a_stop_is_heard(world: tuple[Path, Path, Oracle], tmp_path: Path) -> None:
    model, data, _ = world
    with pytest.raises(StageError) as stopped:
        go(model, [suite()], {"humaneval": data}, tmp_path / "out", stopping=lambda: True)
    assert stopped.value.reason is FailureReason.INTERRUPTED
