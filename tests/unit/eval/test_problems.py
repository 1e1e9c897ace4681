"""Problems as in openai/human-eval, and samples; bad rows are told by file and line."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.eval.humaneval.problems import data_file, read_problems
from speechless.eval.humaneval.samples import read_samples

ROW = {
    "task_id": "t/0",
    "prompt": "def f():\n",
    "entry_point": "f",
    "test": "def check(c):\n    assert c() == 1",
}


def lines(*rows: Any) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


def test_plain_and_gzipped_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(lines(ROW, "", ROW | {"task_id": "t/1", "more": 1}))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    problems = read_problems(tmp_path / "a.jsonl")
    assert [problem.task_id for problem in problems] == ["t/0", "t/1"]
    assert problems == read_problems(tmp_path / "b.jsonl.gz")


def test_the_program_is_that_of_the_authors(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(lines(ROW))
    [problem] = read_problems(tmp_path / "a.jsonl")
    assert problem.program("    return 1") == f"def f():\n    return 1\n{ROW['test']}\ncheck(f)"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (lines(ROW, "{"), "a.jsonl:2: row: Invalid JSON"),
        (lines(ROW, {**ROW, "task_id": "t/1", "entry_point": "f()"}), "a.jsonl:2: entry_point"),
        (
            lines({key: value for key, value in ROW.items() if key != "test"}),
            "a.jsonl:1: test: Field required",
        ),
        (lines(ROW, "", ROW), "a.jsonl:3: task_id t/0 occurs twice"),
        ("\n", "no problems in it"),
    ],
)
def test_a_bad_row_is_told(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(StageError) as refused:
        read_problems(tmp_path / "a.jsonl")
    assert words in refused.value.message
    assert refused.value.reason is FailureReason.DATASET_INVALID


def test_a_broken_gzip_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b"x" * 1000)[:20])
    with pytest.raises(StageError, match=r"a\.jsonl\.gz: cannot be read"):
        read_problems(tmp_path / "a.jsonl.gz")


def test_a_folder_with_one_file_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").touch()
    (tmp_path / "speechless.json").touch()
    assert data_file(tmp_path, ("*.jsonl", "*.jsonl.gz")) == tmp_path / "a.jsonl"
    (tmp_path / "b.jsonl.gz").touch()
    with pytest.raises(StageError, match=r"found a\.jsonl, b\.jsonl\.gz"):
        data_file(tmp_path, ("*.jsonl", "*.jsonl.gz"))
    with pytest.raises(StageError, match="no such file or folder"):
        data_file(tmp_path / "none", ("*",))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"task_id": "a"}\n', "s.jsonl:1: a sample needs the texts task_id and completion"),
        ('{"task_id": "a", "completion": "b"}\nx\n', "s.jsonl:2: no JSON"),
    ],
)
def test_a_bad_sample_is_told(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "s.jsonl").write_text(text)
    with pytest.raises(StageError) as refused:
        read_samples(tmp_path / "s.jsonl")
    assert words in refused.value.message
