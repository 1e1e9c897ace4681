"""Files of rows: each kind gives the same rows, with the place of each; a broken one says where."""

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from speechless.data import read_file
from speechless.data.files import KINDS

ROWS = [{"instruction": f"add {n}", "output": str(n)} for n in range(3)]


def table(delimiter: str) -> bytes:
    lines = [delimiter.join(ROWS[0]), *(delimiter.join(row.values()) for row in ROWS)]
    return "\n".join(lines).encode()


WRITTEN: dict[str, Callable[[], bytes]] = {
    ".jsonl": lambda: "\n".join(map(json.dumps, ROWS)).encode(),
    ".json": lambda: json.dumps(ROWS, indent=1).encode(),
    ".csv": lambda: table(","),
    ".tsv": lambda: table("\t"),
}


def test_every_kind_of_the_table_is_tried() -> None:
    # Parquet and Zstandard need a package: tests/library/test_data_files.py.
    assert [kind.suffix for kind in KINDS] == [*WRITTEN, ".parquet"]


@pytest.mark.parametrize("suffix", WRITTEN)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_file_of_each_kind_has_the_same_rows(
    suffix: str, pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    file = tmp_path / f"rows{suffix}{'' if pack is bytes else '.gz'}"
    file.write_bytes(pack(WRITTEN[suffix]()))
    lines = list(read_file(file))
    assert [line.problem for line in lines] == [None] * 3
    assert [line.value for line in lines] == ROWS
    assert all(line.where.startswith(file.name) for line in lines)


def test_json_lines_in_a_file_that_is_called_json(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_bytes(WRITTEN[".jsonl"]())
    assert [line.value for line in read_file(tmp_path / "rows.json")] == ROWS


def test_csv_with_quotes_line_breaks_and_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes('\ufeffprompt,completion\r\n"a, ""b""\nc",d\r\n'.encode())
    (line,) = read_file(file)
    assert line.value == {"prompt": 'a, "b"\nc', "completion": "d"}
    assert line.where == "rows.csv:3"


BROKEN = {
    "an array that ends": ("rows.json", b"[1, 2", "rows.json:1", "not JSON: .*column"),
    "nested too deeply": ("rows.json", b"[" * 100_000, "rows.json", "not JSON that can be read"),
    "not UTF-8 in JSON": ("rows.json", b'["\xff"]', "rows.json", "not UTF-8"),
    "too many values": ("rows.csv", b"a,b\n1,2,3\n", "rows.csv:2", "more values than the 2 names"),
    "not UTF-8 in CSV": ("rows.csv", b"a,b\n1,\xff\n", "rows.csv, or below", "not UTF-8"),
    "an open quote": ("rows.csv", b'a,b\n1,"2\n', "rows.csv, or below", "unexpected end of data"),
    "cut CSV": (
        "rows.csv.gz",
        gzip.compress(b"a,b\n" + b"1,2\n" * 9999)[:-30],
        "",
        "the compressed file is broken",
    ),
    "cut JSON": (
        "rows.json.gz",
        gzip.compress(b"[" + b"1, " * 9999)[:-30],
        "rows.json.gz",
        "the compressed file is",
    ),
    "no gzip": ("rows.jsonl.gz", b"\x1f\x8bno", "rows.jsonl.gz:1", "the compressed file is broken"),
}


@pytest.mark.parametrize(("name", "content", "where", "what"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_says_where(name: str, content: bytes, where: str, what: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    line = list(read_file(tmp_path / name))[-1]
    assert line.where.startswith(where)
    assert line.problem is not None
    assert re.search(what, line.problem)


def test_an_empty_table_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b"")
    assert list(read_file(tmp_path / "rows.csv")) == []
