"""Who uses an instance is told by locks that the kernel drops with the process."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest

from tests.support import locks
from tests.support.cluster import ROOT
from tests.support.locks import Users

HOLD = """
import sys
from tests.support.locks import Users
users = Users(sys.argv[1])
users.join()
print("held", flush=True)
input()
"""


@pytest.fixture
def name() -> Iterator[str]:
    made = f"unit-{uuid.uuid4().hex}"
    yield made
    locks.lock_path(f"{made}.users").unlink(missing_ok=True)


@pytest.fixture
def other(name: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that uses the instance."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, name], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_first_is_alone_and_then_shares(name: str) -> None:
    first, second = Users(name), Users(name)
    assert first.alone()
    assert not second.alone()

    first.join()
    second.join()
    assert not first.alone(), "another one holds it"

    second.leave()
    assert first.alone()
    first.leave()


def test_a_killed_process_uses_nothing(name: str, other: subprocess.Popen[str]) -> None:
    users = Users(name)
    assert not users.alone()

    other.kill()
    other.wait()

    assert users.alone()
    users.leave()
