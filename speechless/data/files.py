"""The kinds of files that rows come in, as a table from a file's suffix to its reader.

Every reader yields `Line`s: a row with the place where it stands, or what is wrong there. Compression is told by
content, not by name: gzip (RFC 1952) and Zstandard (RFC 8878).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from speechless.contract import MANIFEST_NAME, FailureReason
from speechless.data.jsonl import LONGEST, PIECE, BrokenError, Line, opened, read_lines
from speechless.entry import need
from speechless.errors import StageError

LARGEST_ARRAY = 1 << 30
"""Bytes of a .json file at most (1 GiB, unpacked): it is read whole."""
BATCH = 1000
"""Rows of a Parquet file in memory."""
COMPRESSED = (".gz", ".zst")
RECORDS = frozenset(
    {MANIFEST_NAME, "dataset_dict.json", "dataset_info.json", "dataset_infos.json", "state.json"}
)
"""What stands beside the data in a folder and is none: an artifact's manifest, and the records of `datasets`."""


class FileKind(NamedTuple):
    """A kind of file."""

    suffix: str
    read: Callable[[Path], Iterator[Line]]
    compressed: bool
    """Whether it is also found with `.gz` or `.zst` behind its suffix."""


def read_json(path: Path) -> Iterator[Line]:
    """A JSON array of rows; a file that does not begin with `[` is read as JSON Lines."""
    try:
        with opened(path) as file:
            raw = file.read(PIECE)
            array = raw.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")
            raw += file.read(LARGEST_ARRAY + 1 - len(raw)) if array else b""
    except BrokenError as error:
        yield Line(path.name, None, str(error), torn=True)
        return
    if not array:
        yield from read_lines(path)
        return
    if len(raw) > LARGEST_ARRAY:
        what = "an array of more than 1 GiB: write it as JSON Lines, which are read in pieces"
        yield Line(path.name, None, what, torn=True)
        return
    try:
        rows = json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        yield Line(path.name, None, f"not UTF-8 (byte {error.start + 1})", torn=True)
    except json.JSONDecodeError as error:
        what = f"not JSON: {error.msg} (column {error.colno})"
        yield Line(f"{path.name}:{error.lineno}", None, what, torn=True)
    except (ValueError, RecursionError) as error:
        yield Line(path.name, None, f"not JSON that can be read: {error}", torn=True)
    else:
        for number, row in enumerate(rows, 1):
            yield Line(f"{path.name}, row {number}", row)


def read_csv(path: Path) -> Iterator[Line]:
    """Comma-separated values with a first line of names (RFC 4180)."""
    return _separated(path, ",")


def read_tsv(path: Path) -> Iterator[Line]:
    """The same with tabs."""
    return _separated(path, "\t")


def read_parquet(path: Path) -> Iterator[Line]:
    """An Apache Parquet file, a batch at a time."""
    need("pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield Line(f"{path.name}, row {number}", row)
    except pa.ArrowException as error:
        what = f"not Parquet that can be read: {str(error).strip()}"
        yield Line(f"{path.name}, row {number + 1}", None, what, torn=True)


KINDS = (
    FileKind(".jsonl", read_lines, compressed=True),
    FileKind(".json", read_json, compressed=True),
    FileKind(".csv", read_csv, compressed=True),
    FileKind(".tsv", read_tsv, compressed=True),
    FileKind(".parquet", read_parquet, compressed=False),
)
SUFFIXES = tuple(kind.suffix for kind in KINDS)


def kind_of_file(path: Path) -> FileKind | None:
    """The kind by a file's name; None for another one."""
    for kind in KINDS:
        ends = (kind.suffix, *(f"{kind.suffix}{packed}" for packed in COMPRESSED if kind.compressed))
        if path.name.endswith(ends):
            return kind
    return None


def read_file(path: Path) -> Iterator[Line]:
    """The rows of a file; one whose name tells nothing is read as JSON Lines."""
    kind = kind_of_file(path)
    return (kind.read if kind else read_lines)(path)


class Part(NamedTuple):
    """A file, or a run of its rows."""

    path: Path
    start: int = 0
    """The first row, from 0."""
    stop: int | None = None
    """The row behind the last one; None: to the end."""

    @property
    def name(self) -> str:
        """The file's."""
        return self.path.name

    @property
    def whole(self) -> bool:
        """Whether it is all of the file."""
        return self.start == 0 and self.stop is None


Place = Path | Part
"""Where rows are: a file, a folder of files, or a run of a file's rows."""


def read_part(part: Part) -> Iterator[Line]:
    """The rows of a part."""
    return islice(read_file(part.path), part.start, part.stop)


def parts_of(places: Iterable[Place]) -> list[Part]:
    """The files of places, in order; StageError if a folder has none."""
    return [
        part
        for place in places
        for part in ([place] if isinstance(place, Part) else map(Part, data_files(place)))
    ]


def data_files(path: Path) -> list[Path]:
    """The file itself, or the files of rows directly in a folder, by name; StageError if it has none."""
    if not path.is_dir():
        return [path]
    entries = (entry for entry in path.iterdir() if entry.name not in RECORDS)
    found = sorted(entry for entry in entries if entry.is_file() and kind_of_file(entry))
    if not found:
        what = f"{path.name}: the folder holds none of {', '.join('*' + suffix for suffix in SUFFIXES)}"
        raise StageError(FailureReason.DATASET_INVALID, what, "name a file of rows or a folder of them")
    return found


def _separated(path: Path, delimiter: str) -> Iterator[Line]:
    csv.field_size_limit(LONGEST)
    where = path.name
    try:
        with opened(path) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter=delimiter, strict=True)
            if not reader.fieldnames:
                return
            for row in reader:
                where = f"{path.name}:{reader.line_num}"
                if None in row:
                    yield Line(
                        where, None, f"more values than the {len(reader.fieldnames)} names of the first line"
                    )
                    continue
                # A line with too few values says nothing of the last names.
                yield Line(where, {name: value for name, value in row.items() if value is not None})
    except UnicodeDecodeError as error:
        yield Line(f"{where}, or below", None, f"not UTF-8 ({error.reason})", torn=True)
    except (csv.Error, BrokenError) as error:
        yield Line(f"{where}, or below", None, str(error), torn=True)
