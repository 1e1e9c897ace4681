"""`python -m speechless.data`: what is told of a dataset, and any shape of it as messages."""

import json
from pathlib import Path
from typing import Any

import pytest

from speechless.data import FORMATS, detect, read
from speechless.data.__main__ import main
from speechless.data.convert import row_of

ALPACA = [
    {"instruction": "add 1", "output": "```python\nx + 1\n```", "category": "sum"},
    {"instruction": "add 2", "input": "x", "output": "x + 2", "category": "sum"},
    {"instruction": "add 1", "output": "```python\nx + 1\n```", "category": "again"},
]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, ALPACA)) + "\n")
    return file


def document(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_check_tells_what_is_there(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(rows), "-o", "json"]) == 0
    told = document(capsys)
    assert (told["rows"], told["bad"], told["duplicates"], told["format"]) == (3, 0, 1, "Alpaca")
    assert told["categories"] == {"sum": 2, "again": 1}
    assert told["languages"] == {"python": 2}
    sizes = [len("add 1\n" + ALPACA[0]["output"]), len("add 2\nx\nx + 2")]
    assert told["characters"] == {
        "total": 2 * sizes[0] + sizes[1],
        "shortest": sizes[1],
        "median": sizes[0],
        "p90": sizes[0],
        "p99": sizes[0],
        "longest": sizes[0],
    }
    assert told["tokens"] is None


def test_check_shows_one_row_with_what_is_learned(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(rows)]) == 0
    told = capsys.readouterr().out
    assert "rows        3\n" in told
    assert "rows.jsonl:1:\nuser: add 1\nassistant: [[```python\nx + 1\n```]]\n" in told


def test_a_bad_row_is_named_and_the_status_says_so(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows.write_text(rows.read_text() + '{"instruction": "add 3"}\n{"output": 1}\nno json\n')
    assert main(["check", str(rows)]) == 1
    told = capsys.readouterr().out
    assert "bad         3\n" in told
    assert "bad row     rows.jsonl:4: 'output' is missing\n" in told
    assert "bad row     rows.jsonl:6: not JSON" in told


def test_convert_writes_messages_that_mean_the_same(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made" / "messages.jsonl"
    assert main(["convert", str(rows), "--out", str(out), "-o", "json"]) == 0
    assert document(capsys) == {"out": str(out), "rows": 3, "left_out": 0}
    made = [json.loads(line) for line in out.read_text().splitlines()]
    assert made[1] == {
        "messages": [{"role": "user", "content": "add 2\nx"}, {"role": "assistant", "content": "x + 2"}],
        "category": "sum",
    }
    assert list(out.parent.iterdir()) == [out]


def test_convert_replaces_nothing_unasked_and_leaves_nothing_half_written(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "messages.jsonl"
    out.write_text("mine")
    assert main(["convert", str(rows), "--out", str(out)]) == 1
    assert "is there already: --overwrite replaces it" in capsys.readouterr().err
    rows.write_text(rows.read_text() + "{}\n")
    assert main(["convert", str(rows), "--out", str(out), "--overwrite"]) == 1
    assert "rows.jsonl:4: 'instruction' is missing" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert sorted(tmp_path.iterdir()) == [out, rows]
    assert main(["convert", str(rows), "--out", str(out), "--overwrite", "--bad_rows", "skip"]) == 0
    assert "3 rows, 1 left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
        {
            "messages": [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "b", "weight": 0},
                {"role": "user", "content": "c"},
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [
                        {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}, "id": "1"}
                    ],
                },
                {"role": "tool", "content": "2", "tool_call_id": "1"},
                {"role": "assistant", "content": "d"},
            ],
            "tools": [{"type": "function", "function": {"name": "f"}}],
        },
        {
            "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
            "prompt_type": "alpaca",
        },
        {"prompt": "a", "completion": "b"},
        {"text": "a"},
        {"prompt": "a", "chosen": "b", "rejected": "c"},
        {"prompt": "a", "answer": "b"},
    ],
)
def test_what_is_written_is_read_as_the_same_example(row: dict[str, Any]) -> None:
    found = detect(row)
    assert found is not None
    example = read(row, found.name)
    again = row_of(example)
    assert again == row
    assert read(again, found.name) == example


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["check", "nosuch.jsonl"], "nosuch.jsonl: No such file or directory"),
        (["convert", "nosuch.jsonl", "--out", "x.jsonl"], "nosuch.jsonl: No such file or directory"),
        (["check", "."], ".: the folder holds none of *.jsonl"),
    ],
)
def test_what_is_not_there_is_one_line(
    words: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"speechless data: {told}" if words[1] != "." else "speechless data: ")
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_every_format_can_be_named() -> None:
    for row in FORMATS:
        for flag in row.flags:
            with pytest.raises(SystemExit) as end:
                main(["check", "x", "--dataset_format", flag, "--model_max_length", "9"])
            assert end.value.code == 2, "for the length without a model, not for the format"
