"""A command whose output nobody reads to its end (`... | head`) ends without a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from speechless.entry import guarded

LINES = """
import sys
from speechless.entry import run

def main():
    for number in range({lines}):
        print("a line", number)
    return 0

run("eval", main)
"""


@pytest.mark.parametrize("lines", [1, 200_000], ids=["less than a buffer", "more than a pipe"])
def test_a_reader_that_left_is_no_error(lines: int, tmp_path: Path) -> None:
    file = tmp_path / "command.py"
    file.write_text(LINES.format(lines=lines))
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, str(file)], check=False, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_another_pipe_is_an_error() -> None:
    """A server or a program that went away while it was written to."""

    def main() -> int:
        raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(BrokenPipeError):
        guarded("eval", main)
