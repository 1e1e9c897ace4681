"""One process at a time works on an instance, or on what all share."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from cluster import paths
from cluster.errors import ClusterError
from cluster.instance import locked


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "state", lambda: tmp_path)


def second(*, waits: bool) -> list[str]:
    """What a second process is told while a first one is at it, which ends when the second waits."""
    told: list[str] = []
    seen = threading.Event()

    def say(line: str) -> None:
        told.append(line)
        seen.set()

    def work() -> None:
        try:
            with locked("x", "cluster up", say if waits else None):
                told.append("at it")
        except ClusterError as error:
            told.append(str(error))

    thread = threading.Thread(target=work)
    with locked("x", "cluster up"):
        thread.start()
        if waits:
            assert seen.wait(10)
        else:
            thread.join(10)
    thread.join(10)
    return told


def test_a_second_one_is_told_who_is_at_it() -> None:
    (told,) = second(waits=False)
    assert told.startswith("'x' is busy: `cluster up x` (pid ")


def test_what_all_share_is_waited_for() -> None:
    first, then = second(waits=True)
    assert first.startswith("waiting for `cluster up x` (pid ")
    assert then == "at it"
