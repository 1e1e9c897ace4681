"""A dataset: every row checked, errors with file and line, splits by seed, bounded memory."""

import gzip
import json
import tracemalloc
from pathlib import Path

import pytest

from speechless.contract import BadRows, DatasetFormat, FailureReason
from speechless.data import Survey, Text, jsonl, read_rows, survey
from speechless.errors import StageError


def row(number: int) -> dict[str, str]:
    return {"prompt": f"prompt {number}", "completion": f"completion {number}"}


def write(path: Path, count: int, first: int = 0) -> Path:
    path.write_text("".join(json.dumps(row(number)) + "\n" for number in range(first, first + count)))
    return path


def prompts(dataset: Survey, *, heldout: bool) -> list[str]:
    found = [placed.example for placed in read_rows(dataset, heldout=heldout)]
    return [example.prompt for example in found if isinstance(example, Text)]


def failure(path: Path, row_format: DatasetFormat = DatasetFormat.AUTO) -> StageError:
    with pytest.raises(StageError) as caught:
        survey(path, row_format, seed=0)
    assert caught.value.reason is FailureReason.DATASET_INVALID
    return caught.value


def test_all_rows_are_read_in_order(tmp_path: Path) -> None:
    dataset = survey(write(tmp_path / "train.jsonl", 5), seed=0)
    assert dataset.format is DatasetFormat.PROMPT_COMPLETION
    assert [(placed.where, placed.example) for placed in read_rows(dataset, heldout=False)] == [
        (f"train.jsonl:{n + 1}", Text(f"completion {n}", f"prompt {n}")) for n in range(5)
    ]


def test_a_folders_files_are_read_by_name(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", 2, first=2)
    write(tmp_path / "a.jsonl", 2)
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(json.dumps(row(4)).encode()))
    (tmp_path / "README.md").write_text("not rows")
    for record in ("speechless.json", "dataset_infos.json"):
        (tmp_path / record).write_text("{}")
    assert prompts(survey(tmp_path, seed=0), heldout=False) == [f"prompt {number}" for number in range(5)]


def test_gzip_is_told_by_content(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(gzip.compress(b'{"prompt": "a", "completion": "b"}\n'))
    assert survey(file, seed=0).rows == 1


def test_blank_lines_a_byte_order_mark_and_a_missing_last_newline_are_no_problem(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(
        b'\xef\xbb\xbf{"prompt": "a", "completion": "b"}\r\n\n   \n{"prompt": "c", "completion": "d"}'
    )
    assert prompts(survey(file, seed=0), heldout=False) == ["a", "c"]


def test_other_keys_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row(1) | {"source": "web"}))
    assert [placed.example for placed in read_rows(survey(file, seed=0), heldout=False)] == [
        Text("completion 1", "prompt 1")
    ]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b'{"prompt": "a"', r"train\.jsonl:3: not JSON: .* \(column \d+\)"),
        (b'{"prompt": "a"}', r"train\.jsonl:3: 'completion' is missing"),
        (b"\xff\xfe", r"train\.jsonl:3: not UTF-8 \(byte 1 of the line\)"),
        (b'"text"', r"train\.jsonl:3: a row is an object, this is a string"),
        (b"[" * 100_000, r"train\.jsonl:3: not JSON"),
        (b'{"id": ' + b"9" * 5000 + b"}", r"train\.jsonl:3: not JSON that can be read: Exceeds the limit"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path, line: bytes, what: str) -> None:
    file = write(tmp_path / "train.jsonl", 2)
    file.write_bytes(file.read_bytes() + line + b"\n" + json.dumps(row(9)).encode())
    with pytest.raises(StageError, match=what):
        survey(file, seed=0)


def test_the_last_row_is_checked_too_and_more_than_one_is_counted(tmp_path: Path) -> None:
    file = write(tmp_path / "train.jsonl", 1000)
    file.write_text(file.read_text() + '{"prompt": "a"}\n{}\n{}\n')
    assert failure(file).message == "train.jsonl:1001: 'completion' is missing (and 2 more rows)"


def test_rows_of_another_format_are_named(tmp_path: Path) -> None:
    file = write(tmp_path / "train.jsonl", 1)
    file.write_text(file.read_text() + '{"messages": []}\n')
    assert failure(file).message == "train.jsonl:2: 'prompt' is missing"
    assert failure(file, DatasetFormat.MESSAGES).message.startswith("train.jsonl:1: 'messages' is missing")


def test_an_unknown_first_row_names_what_it_has(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text('{"words": "a", "label": 1}\n')
    assert "train.jsonl:1: its keys tell no format (found: label, words)" in failure(file).message
    assert "Messages, Conversations, Alpaca" in failure(file).message


@pytest.mark.parametrize("content", [b"", b"\n\n  \n"])
def test_an_empty_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "train.jsonl").write_bytes(content)
    assert failure(tmp_path / "train.jsonl").message == "train.jsonl: the file holds no row"


def test_a_folder_without_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.xlsx").write_text("a,b")
    assert "holds none of *.jsonl, *.json, *.csv, *.tsv, *.parquet" in failure(tmp_path).message


def test_a_broken_compression_is_told(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl.gz"
    file.write_bytes(gzip.compress((json.dumps(row(1)) + "\n").encode() * 5000)[:-20])
    assert "the compressed file is broken" in failure(file).message


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "LONGEST", 1 << 20)
    file = tmp_path / "train.jsonl"
    file.write_bytes(b"x" * (3 << 20))
    assert failure(file).message == "train.jsonl:1: the line is longer than 1 MiB"


def test_a_file_that_changed_while_it_was_read_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "train.jsonl", 3)
    dataset = survey(file, seed=0)
    write(file, 4)
    with pytest.raises(StageError, match=r"train\.jsonl:4: the file changed"):
        list(read_rows(dataset, heldout=False))


def test_a_split_is_whole_disjoint_and_repeatable(tmp_path: Path) -> None:
    file = write(tmp_path / "train.jsonl", 100)
    dataset = survey(file, seed=3, eval_rows=0.2)
    train, held = prompts(dataset, heldout=False), prompts(dataset, heldout=True)
    assert (len(train), len(held)) == (80, 20) == (dataset.train_rows, dataset.heldout_rows)
    assert sorted(train + held) == sorted(f"prompt {number}" for number in range(100))
    assert held != [f"prompt {number}" for number in range(20)]
    assert prompts(survey(file, seed=3, eval_rows=0.2), heldout=True) == held
    assert prompts(survey(file, seed=4, eval_rows=0.2), heldout=True) != held


@pytest.mark.parametrize(
    ("wanted", "train", "held"),
    [
        ({"max_samples": 10}, 10, 0),
        ({"max_samples": 0.1}, 10, 0),
        ({"max_samples": 1000}, 100, 0),
        ({"eval_rows": 7}, 93, 7),
        ({"eval_rows": 0.001}, 99, 1),
        ({"eval_rows": 0.5, "max_eval_rows": 3}, 97, 3),
        ({"eval_rows": 0.5, "max_eval_rows": 0}, 100, 0),
        ({"max_samples": 10, "eval_rows": 0.5}, 5, 5),
    ],
)
def test_how_many_rows_are_used(tmp_path: Path, wanted: dict[str, float], train: int, held: int) -> None:
    dataset = survey(write(tmp_path / "train.jsonl", 100), seed=0, **wanted)  # type: ignore[arg-type]
    assert (dataset.train_rows, dataset.heldout_rows) == (train, held)


def test_holding_everything_out_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="none is left to train on"):
        survey(write(tmp_path / "train.jsonl", 1), seed=0, eval_rows=0.5)


def test_whoever_checks_the_rows_is_asked_now_and_then_whether_to_go_on(tmp_path: Path) -> None:
    """A file of millions takes minutes: a signal is not to wait for its end."""
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"text": "x"}\n' * 5000)
    asked = 0

    def check() -> None:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        survey(file, seed=0, check=check)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    line = json.dumps({"prompt": "p" * 10_000, "completion": "c" * 10_000}) + "\n"
    with file.open("w") as out:
        out.writelines(line for _ in range(1000))
    tracemalloc.start()
    try:
        for _ in read_rows(survey(file, seed=0, eval_rows=0.1), heldout=False):
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert file.stat().st_size > 20_000_000
    assert peak < 2_000_000


def test_files_and_folders_of_several_kinds_are_one_dataset(tmp_path: Path) -> None:
    folder = tmp_path / "more"
    folder.mkdir()
    write(tmp_path / "a.jsonl", 2)
    (folder / "b.csv").write_text("prompt,completion\nprompt 2,completion 2\n")
    (folder / "c.json").write_text(json.dumps([row(3), row(4)]))
    dataset = survey([tmp_path / "a.jsonl", folder], seed=0)
    assert prompts(dataset, heldout=False) == [f"prompt {number}" for number in range(5)]


def test_bad_rows_are_skipped_and_counted_if_that_is_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "train.jsonl"
    lines = ["{}", json.dumps(row(0)), '{"prompt": "a"}', "no json", json.dumps(row(1)), json.dumps(row(2))]
    file.write_text("\n".join(lines))
    dataset = survey(file, seed=0, bad_rows=BadRows.SKIP, eval_rows=1)
    assert (dataset.rows, dataset.bad_rows, dataset.train_rows, dataset.heldout_rows) == (6, 3, 2, 1)
    assert sorted(prompts(dataset, heldout=False) + prompts(dataset, heldout=True)) == [
        "prompt 0",
        "prompt 1",
        "prompt 2",
    ]
    assert "left out: train.jsonl:3: 'completion' is missing" in caplog.text


def test_where_every_row_is_bad_the_first_is_told_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("{}\n{}\n")
    with pytest.raises(StageError, match=r"train\.jsonl:1: .* \(and 1 more row\)"):
        survey(tmp_path, seed=0, bad_rows=BadRows.SKIP)


def test_a_split_takes_the_same_part_of_each_category(tmp_path: Path) -> None:
    sizes = {"sum": 60, "max": 30, "rare": 10}
    rows = [
        {"prompt": f"{name} {n}", "completion": "x", "category": name}
        for name, size in sizes.items()
        for n in range(size)
    ]
    file = tmp_path / "train.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    held = prompts(survey(file, seed=1, eval_rows=0.1), heldout=True)
    assert {name: sum(prompt.startswith(name) for prompt in held) for name in sizes} == {
        "sum": 6,
        "max": 3,
        "rare": 1,
    }
    assert prompts(survey(file, seed=2, eval_rows=0.1), heldout=True) != held


def test_a_file_that_is_torn_is_never_skipped(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", 5)
    whole = gzip.compress(b"".join(json.dumps(row(number)).encode() + b"\n" for number in range(5000)))
    (tmp_path / "b.jsonl.gz").write_bytes(whole[:-20])
    with pytest.raises(StageError, match=r"b\.jsonl\.gz:\d+: the compressed file is broken"):
        survey(tmp_path, seed=0, bad_rows=BadRows.SKIP)
