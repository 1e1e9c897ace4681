"""JSON Lines as a stream: one value at a time, each with the place where it stands."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

LONGEST = 64 << 20
"""Bytes of a line at most (64 MiB): what a reader holds in memory, whatever the file."""
SUFFIXES = (".jsonl", ".jsonl.gz")


class Line(NamedTuple):
    """A line of a file: its value, or what is wrong with it."""

    where: str
    """`file:line`, the line counted from 1."""
    value: object
    problem: str | None = None


def data_files(path: Path) -> list[Path]:
    """The file itself, or the JSON Lines files directly in a folder, by name."""
    if not path.is_dir():
        return [path]
    return sorted(entry for entry in path.iterdir() if entry.name.endswith(SUFFIXES) and entry.is_file())


def read_lines(path: Path) -> Iterator[Line]:
    """The values of a file, plain or gzip-compressed; lines of white space alone are passed over.

    What cannot be read is a `Line` with a problem, not an exception, so that a reader can tell of more than one; after
    a broken compression or a line that is too long nothing more follows. OSError where the file cannot be opened.
    """
    number = 0
    with _open(path) as file:
        while True:
            try:
                raw = file.readline(LONGEST + 1)
            except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                yield Line(f"{path.name}:{number + 1}", None, f"the compressed file is broken: {error}")
                return
            if not raw:
                return
            number += 1
            where = f"{path.name}:{number}"
            if len(raw) > LONGEST:
                yield Line(where, None, f"the line is longer than {LONGEST >> 20} MiB")
                return
            if raw.strip():
                yield _parse(where, raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw)


def _parse(where: str, raw: bytes) -> Line:
    try:
        return Line(where, json.loads(raw.decode("utf-8")))
    except UnicodeDecodeError as error:
        return Line(where, None, f"not UTF-8 (byte {error.start + 1} of the line)")
    except json.JSONDecodeError as error:
        return Line(where, None, f"not JSON: {error.msg} (column {error.colno})")
    except RecursionError:
        return Line(where, None, "not JSON that can be read: nested too deeply")


def _open(path: Path) -> BinaryIO:
    """Open by content, not by name: gzip begins with 1f 8b (RFC 1952)."""
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path, "rb")) if compressed else path.open("rb")
