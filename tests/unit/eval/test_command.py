"""`speechless eval humaneval`: flags, files, exit status."""

import json
from pathlib import Path

import pytest

from speechless.eval.__main__ import main
from tests.support.commands import status_of

ROW = {
    "task_id": "t/0",
    "prompt": "def one():\n",
    "entry_point": "one",
    "test": "def check(c):\n    assert c() == 1",
    "canonical_solution": "    return 1",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two problems and samples of the first."""
    monkeypatch.chdir(tmp_path)
    rows = [ROW, ROW | {"task_id": "t/1"}]
    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "eval_results" / "humaneval" / "model"
    out.mkdir(parents=True)
    bodies = ["    return 1", "    return 2"]
    (out / "humaneval_samples.jsonl").write_text(
        "".join(json.dumps({"task_id": "t/0", "completion": body}) + "\n" for body in bodies)
    )
    return out


def test_samples_of_a_range_are_scored_and_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["humaneval", "--model", "x/model/", "--data", "tasks.jsonl", "--end_index", "1"]
    assert main([*words, "--do_eval", "--show_result", "--k", "1,2,100"]) == 0
    shown = capsys.readouterr().out
    assert "humaneval/pass@1         0.5000  (95 %: 0.0546 to 0.9454)" in shown
    assert "humaneval/pass@2         1.0000  (95 %: 0.2065 to 1.0000)" in shown
    assert "pass@100" not in shown
    assert "1 of 2" in shown
    results = (folder / "humaneval_samples.jsonl_results.jsonl").read_text().splitlines()
    assert [json.loads(line)["passed"] for line in results] == [True, False]
    assert json.loads((folder / "humaneval_report.json").read_text())["generation"] is None


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["humaneval", "--model", "m", "--tmeout", "3"], 2, "unknown flag --tmeout; did you mean --timeout?"),
        (["humaneval", "--model", "m", "--k", "x"], 2, "--k takes whole numbers"),
        (["humaneval", "--model", "m", "--n_samples", "2", "--temperature", "0"], 2, "greedy samples"),
        (["humaneval", "--model", "m", "--do_eval", "--data", "none"], 1, "none: no such file"),
        (["humaneval", "--model", "none", "--do_gen", "--data", "tasks.jsonl"], 1, "none: no such model"),
        (["humaneval", "--model", "m", "--show_results"], 1, "Score samples first"),
        (["nothing"], 2, "invalid choice"),
    ],
)
def test_mistakes_are_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], status: int, told: str
) -> None:
    assert status_of(main, words) == status
    errors = capsys.readouterr().err
    assert told in errors
    assert len(errors.splitlines()) == 1


RIGHT = {"task_id": "t/0", "completion": "    return 1"}
SECOND = {"task_id": "t/1", "solution": "def one():\n    return 1\n"}


def scored(folder: Path, content: bytes) -> int:
    (folder / "humaneval_samples.jsonl").write_bytes(content)
    return main(
        [
            "humaneval",
            "--model",
            "x/model",
            "--data",
            "tasks.jsonl",
            "--do_eval",
            "--show_results",
            "--k",
            "1",
        ]
    )


def lines(*rows: dict[str, str]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf"])
def test_whole_programs_and_a_byte_order_mark_are_taken(
    folder: Path, capsys: pytest.CaptureFixture[str], before: bytes
) -> None:
    assert scored(folder, before + lines(RIGHT, SECOND)) == 0
    assert "humaneval/pass@1         1.0000" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (lines(RIGHT), "1 of 2 problems have no sample, first t/1"),
        (lines(), "2 of 2 problems have no sample, first t/0"),
        (lines(RIGHT, SECOND, RIGHT | {"task_id": "t/9"}), "1 samples are of tasks that the data do not have, such"),
        (b'{"task_id": "t/0", "completion": "caf\xe9"}\n', "humaneval_samples.jsonl:1: not UTF-8"),
        (b"[" * 200_000 + b"\n", "humaneval_samples.jsonl:1: no JSON"),
        (lines({"task_id": "t/0"}), "humaneval_samples.jsonl:1: a sample needs the texts task_id and completion"),
    ],
)  # fmt: skip
def test_samples_that_would_give_the_score_of_another_benchmark_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], content: bytes, told: str
) -> None:
    assert scored(folder, content) == 1
    captured = capsys.readouterr()
    assert told in captured.err
    assert captured.err.count("\n") == 1
    assert "pass@1" not in captured.out
