"""What sends to a tracker: nothing waits for it, nothing is lost that can be sent again, and it is warned of once."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

import pytest

from speechless.contract.tracking import TRACKERS, Tracker
from speechless.finetune.trackers import Trackers, sender
from speechless.finetune.trackers.base import End, Logged
from speechless.finetune.trackers.sender import Sender


class Connection:
    """A tracker in this process, which fails as often as it is told to."""

    run = where = "here"

    def __init__(self, fails: int = 0) -> None:
        self.fails, self.steps, self.ended = fails, list[int](), list[End]()
        self.open = threading.Event()
        self.open.set()

    def log(self, logged: Sequence[Logged]) -> None:
        self.open.wait(20)
        if self.fails:
            self.fails -= 1
            raise OSError("the line is cut\nand more")
        self.steps += [one.step for one in logged]

    def end(self, how: End) -> None:
        self.ended.append(how)


def logged(step: int) -> Logged:
    return Logged(step, 0.0, {"train/loss": 1.0})


def test_what_fails_is_sent_again_in_order_and_warned_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "speechless")
    monkeypatch.setattr(sender, "FIRST_SECONDS", 0.01)
    away = [OSError("no way"), OSError("no way")]
    there = Connection(fails=2)

    def connect() -> Connection:
        if away:
            raise away.pop()
        return there

    sends = Sender(Tracker.MLFLOW, connect, None)
    for step in range(1, 301):
        sends.put(logged(step))
    sends.end(End.FINISHED)
    sends.wait(20)
    assert (there.steps, there.ended) == ([*range(1, 301)], [End.FINISHED])
    # It was warned of when it could not be reached at first.
    assert caplog.messages == ["MLflow answers again"]


def test_a_tracker_that_hangs_holds_up_nothing_and_is_given_up_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    there = Connection()
    there.open.clear()
    sends = Sender(Tracker.WANDB, lambda: there, there)
    began = time.monotonic()
    for step in range(1, 1001):
        sends.put(logged(step))
    sends.end(End.INTERRUPTED)
    sends.wait(0.2)
    assert time.monotonic() - began < 5
    assert caplog.messages == ["WandB does not answer: its run was not ended, and misses values"]
    there.open.set()
    deadline = time.monotonic() + 20
    while any(thread.name == "tracker WandB" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert there.ended == []


def test_what_there_is_no_room_for_is_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sender, "LIMIT", 5)
    there = Connection()
    there.open.clear()
    sends = Sender(Tracker.WANDB, lambda: there, there)
    for step in range(1, 1001):
        sends.put(logged(step))
    there.open.set()
    sends.end(End.FINISHED)
    sends.wait(20)
    assert there.steps[-5:] == [996, 997, 998, 999, 1000]
    assert caplog.messages == [f"WandB misses the values of {1000 - len(there.steps)} steps"]
    assert there.ended == [End.FINISHED]


def test_a_tracker_is_a_row_and_a_module_of_its_flags_name() -> None:
    from importlib import import_module

    for row in TRACKERS.values():
        module = import_module(f"{Trackers.__module__}.{row.flag}")
        assert callable(module.missing)
        assert callable(module.connect)
