"""Files of rows that need pyarrow: Parquet, and whatever is compressed with Zstandard."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from speechless.data import read_file
from tests.unit.data.test_files import ROWS, WRITTEN


def parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(ROWS), sink)
    return bytes(sink.getvalue())


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as packed:
        packed.write(data)
    return bytes(sink.getvalue())


def test_parquet(tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_bytes(parquet())
    lines = list(read_file(tmp_path / "rows.parquet"))
    assert [line.value for line in lines] == ROWS
    assert [line.where for line in lines] == [f"rows.parquet, row {number}" for number in (1, 2, 3)]


@pytest.mark.parametrize("suffix", WRITTEN)
def test_zstandard_is_told_by_content(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"rows{suffix}.zst").write_bytes(zstd(WRITTEN[suffix]()))
    assert [line.value for line in read_file(tmp_path / f"rows{suffix}.zst")] == ROWS


def test_what_is_cut_says_where(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(parquet()[:-20])
    (tmp_path / "b.jsonl").write_bytes(zstd(b"".join(b'{"n": %d}\n' % n for n in range(99_999)))[:-2000])
    for file, what in (("a.parquet", "not Parquet"), ("b.jsonl", "the compressed file is broken")):
        problem = list(read_file(tmp_path / file))[-1].problem
        assert problem is not None
        assert what in problem
