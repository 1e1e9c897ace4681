"""The older version: its tree, taken from git's history, and its code run in a process of its own."""

from __future__ import annotations

import atexit
import io
import json
import os
import subprocess
import sys
import tarfile
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.support.cluster import ROOT

COMMIT = "9a567eb"
DATA = Path(__file__).parent / COMMIT


class HistoryError(RuntimeError):
    """Git's history does not have the older version."""


@cache
def tree() -> Path:
    """The older version's tree, in a folder that goes with this process.

    Raises:
        HistoryError: It is not in git's history.
    """
    git = ["git", "archive", "--format=tar", COMMIT, "speechless", "operator", "tests"]
    made = subprocess.run(git, cwd=ROOT, capture_output=True, check=False)
    if made.returncode:
        raise HistoryError(
            f"commit {COMMIT}, the version before, cannot be had from git's history: "
            f"{made.stderr.decode().strip()}; a shallow clone lacks it: git fetch --unshallow"
        )
    holder = TemporaryDirectory(prefix=f"speechless-{COMMIT}-")
    folder = Path(holder.name)
    with tarfile.open(fileobj=io.BytesIO(made.stdout)) as tar:
        tar.extractall(folder, filter="data")
    atexit.register(holder.cleanup)
    return folder


def environment() -> dict[str, str]:
    """For a Python that imports the older version: its folders come before what is installed."""
    folder = tree()
    return os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{folder / 'operator'}", "PYTHONSAFEPATH": "1"}


def run_old(program: Path, *arguments: str, given: Any = None) -> Any:
    """Run a Python file with the older version's code: JSON in, JSON out; its failure is a failed test."""
    done = subprocess.run(
        [sys.executable, str(program), *arguments],
        input=json.dumps(given),
        env=environment(),
        cwd=tree(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{program.name} with the code of {COMMIT}:\n{done.stderr}"
    return json.loads(done.stdout)
