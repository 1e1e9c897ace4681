"""Waiting for a predicate."""

from __future__ import annotations

import itertools

import pytest

from tests.support.wait import WaitError, wait_for


def test_it_returns_what_the_predicate_found() -> None:
    values = iter([None, 0, "", "found"])

    assert wait_for(lambda: next(values), "a value", interval=0) == "found"


def test_it_looks_once_even_without_time() -> None:
    assert wait_for(lambda: 7, "seven", timeout=0) == 7


def test_it_looks_once_more_after_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """What became true during a sleep that took too long, on a busy machine, is still seen."""
    clock = iter([0.0, 1.0, 99.0])
    monkeypatch.setattr("tests.support.wait.time.monotonic", lambda: next(clock))
    looks = itertools.count()

    assert wait_for(lambda: next(looks) == 1, "the second look", timeout=10, interval=0)


def test_it_says_what_it_waited_for_and_what_it_saw_last() -> None:
    with pytest.raises(WaitError, match=r"waited 0\.05 s for the moon\nlast value: \[\]"):
        wait_for(list, "the moon", timeout=0.05, interval=0.01)


def test_it_says_what_the_caller_describes() -> None:
    with pytest.raises(WaitError, match=r"for the moon\nclouds"):
        wait_for(lambda: False, "the moon", timeout=0, describe=lambda: "clouds")


def test_an_error_of_the_predicate_ends_the_wait() -> None:
    def fails() -> bool:
        raise OSError("no route")

    with pytest.raises(OSError, match="no route"):
        wait_for(fails, "anything", timeout=60)
