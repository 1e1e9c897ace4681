"""What pages tell a reader to run on one machine: the commands of a page in their order, in an empty folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path

import pytest

from tests.docs.rows import Library, chosen, with_others
from tests.docs.shell import Command
from tests.docs.table import ROWS, documented
from tests.support.wait import wait_for

pytestmark = pytest.mark.timeout(1800)
SECONDS = 600
"""For one command, or until a server is ready."""
PAGES = {
    page: list(found)
    for page, found in groupby(chosen(documented(), ROWS, Library), key=lambda pair: pair[0].block.page)
}


class Shell:
    """What a reader's shell would keep from one command to the next: variables, and what runs in the background."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "NO_PROXY": "*"}
        self._stack = stack

    def run(self, command: Command, where: Library) -> None:
        """Run a command of a page; AssertionError with what it printed if it fails."""
        if command.words[0] == "export":
            self.env |= dict(word.split("=", 1) for word in command.words[1:])
            return
        words = argv(with_others(command.words, where.instead))
        if shutil.which(words[0]) is None:
            pytest.skip(f"{words[0]} is not on this machine: {command}")
        log = self.folder / "command.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                words,
                cwd=self.folder,
                env=self.env | command.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        if where.ready:
            self._stack.callback(process.wait, 60)
            self._stack.callback(process.terminate)
            wait_until_ready(process, where.ready, command, log)
            return
        try:
            status = process.wait(SECONDS)
        finally:
            process.kill()
        assert status == 0, f"{command}\n{log.read_text()}"


def wait_until_ready(process: subprocess.Popen[bytes], url: str, command: Command, log: Path) -> None:
    """Return when a server answers."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def answers() -> bool:
        assert process.poll() is None, f"{command}\n{log.read_text()}"
        try:
            with direct.open(url, timeout=5):
                return True
        except urllib.error.HTTPError as error:
            if error.code != 503:  # the model is being loaded
                pytest.fail(f"{command}: {url} answers {error.code}")
        except (urllib.error.URLError, ConnectionError):
            pass
        return False

    wait_for(answers, f"{url} to answer", timeout=SECONDS, describe=log.read_text)


def argv(words: Sequence[str]) -> list[str]:
    """A command as it is run here: by the interpreter of the tests, `speechless X` as its module."""
    if words[0] == "speechless":
        return [sys.executable, "-m", *words]
    return [sys.executable, *words[1:]] if re.fullmatch(r"(\S*/)?python3?", words[0]) else [*words]


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run_in_their_order(page: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        shell = Shell(tmp_path, stack)
        for command, row in PAGES[page]:
            assert isinstance(row.where, Library)
            shell.run(command, row.where)
