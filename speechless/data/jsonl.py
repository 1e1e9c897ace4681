"""JSON Lines as a stream: one value at a time, each with the place where it stands."""

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from speechless.entry import need

LONGEST = 64 << 20
"""Bytes of a line at most (64 MiB): what a reader holds in memory, whatever the file."""


PIECE = 1 << 20
"""Bytes that are unpacked at a time."""


class BrokenError(Exception):
    """A compressed file cannot be unpacked to its end."""


class Line(NamedTuple):
    """A line of a file: its value, or what is wrong with it."""

    where: str
    """`file:line`, the line counted from 1."""
    value: object
    problem: str | None = None
    torn: bool = False
    """Whether the file cannot be read on from here: what follows is lost, so this is more than one bad row."""


def read_lines(path: Path) -> Iterator[Line]:
    """The values of a file, plain or compressed; lines of white space alone are passed over.

    What cannot be read is a `Line` with a problem, not an exception, so that a reader can tell of more than one; after
    a broken compression or a line that is too long nothing more follows. OSError where the file cannot be opened.
    """
    number = 0
    with opened(path) as file:
        while True:
            try:
                raw = file.readline(LONGEST + 1)
            except BrokenError as error:
                yield Line(f"{path.name}:{number + 1}", None, str(error), torn=True)
                return
            if not raw:
                return
            number += 1
            where = f"{path.name}:{number}"
            if len(raw) > LONGEST:
                yield Line(where, None, f"the line is longer than {LONGEST >> 20} MiB", torn=True)
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
    except ValueError as error:
        # An integer of more digits than Python converts.
        return Line(where, None, f"not JSON that can be read: {str(error).partition(';')[0]}")


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file for reading, unpacked if it is compressed; reading raises BrokenError where it cannot be unpacked."""
    with path.open("rb") as file:
        magic = file.read(4)
    if magic.startswith(b"\x1f\x8b"):
        with gzip.open(path, "rb") as packed:
            yield cast(
                BinaryIO,
                io.BufferedReader(
                    _Unpacked(cast(BinaryIO, packed), (EOFError, gzip.BadGzipFile, zlib.error)), PIECE
                ),
            )
    elif magic == b"\x28\xb5\x2f\xfd":
        need("pyarrow")
        import pyarrow as pa

        with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as packed:
            yield cast(
                BinaryIO, io.BufferedReader(_Unpacked(cast(BinaryIO, packed), (OSError, ValueError)), PIECE)
            )
    else:
        with path.open("rb") as file:
            yield cast(BinaryIO, file)


class _Unpacked(io.RawIOBase):
    """What a decompressor gives, with one error for all its own."""

    def __init__(self, packed: BinaryIO, errors: tuple[type[Exception], ...]) -> None:
        self._packed, self._errors = packed, errors

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._packed.read(len(buffer))
        except self._errors as error:
            raise BrokenError(f"the compressed file is broken: {error}") from error
        buffer[: len(data)] = data
        return len(data)
