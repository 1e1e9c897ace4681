"""What pages tell a reader to run on one machine: the commands of a page in their order, in an empty folder."""

import os
import re
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pytest

from tests.docs.rows import Library, Row, chosen, with_others
from tests.docs.shell import Command
from tests.docs.table import ROWS, documented

pytestmark = pytest.mark.timeout(900)
CHOSEN = chosen(documented(), ROWS, Library)
PAGES = {page: list(found) for page, found in groupby(CHOSEN, key=lambda pair: pair[0].block.page)}


def argv(command: Command, row: Row) -> list[str]:
    """A command as it is run here: by the interpreter of the tests, `speechless X` as its module."""
    assert isinstance(row.where, Library)
    words = with_others(command.words, row.where.instead)
    if words[0] == "speechless":
        return [sys.executable, "-m", *words]
    return [sys.executable, *words[1:]] if re.fullmatch(r"(\S*/)?python3?", words[0]) else words


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run_in_their_order(page: str, tmp_path: Path) -> None:
    for command, row in PAGES[page]:
        done = subprocess.run(
            argv(command, row),
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | command.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
