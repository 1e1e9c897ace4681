"""Progress: steps, time left, phases, and asking to stop."""

import logging
import os
import pty
import subprocess
import sys

import pytest

from speechless.contract import FailureReason, Progress, ProgressPhase
from speechless.errors import StageError
from speechless.progress import Reporter
from speechless.progress.display import Lines, duration, line


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reporter(clock: Clock) -> Reporter:
    return Reporter(Lines(clock=clock), clock)


def test_steps_become_percent_and_time_left(reporter: Reporter, clock: Clock) -> None:
    reporter.enter(ProgressPhase.WORKING)
    reporter.progress(0, 200, {})
    clock.now += 10
    reporter.progress(50, 200, {"loss": 2.5})
    now = reporter.snapshot()
    assert (now.step, now.total_steps, now.percent, now.remaining_seconds) == (50, 200, 25.0, 30)
    assert [(metric.name, metric.value) for metric in now.metrics] == [("loss", 2.5)]


def test_a_resumed_runs_pace_counts_from_where_it_took_up(reporter: Reporter, clock: Clock) -> None:
    reporter.enter(ProgressPhase.WORKING)
    reporter.progress(900, 1000, {})
    assert reporter.snapshot().remaining_seconds is None
    clock.now += 10
    reporter.progress(910, 1000, {})
    assert reporter.snapshot().remaining_seconds == 90


def test_a_value_stays_until_there_is_a_newer_one(reporter: Reporter) -> None:
    reporter.enter(ProgressPhase.WORKING)
    reporter.progress(1, 10, {"loss": 2.5, "eval_loss": 3.0})
    reporter.progress(2, 10, {"loss": 2.0, "broken": float("nan")})
    assert {metric.name: metric.value for metric in reporter.snapshot().metrics} == {
        "loss": 2.0,
        "eval_loss": 3.0,
    }


def test_an_unknown_total_has_no_percent(reporter: Reporter) -> None:
    reporter.progress(5, 0)
    now = reporter.snapshot()
    assert (now.step, now.percent, now.remaining_seconds) == (5, 0, None)


def test_the_work_is_done_when_publishing_begins(reporter: Reporter) -> None:
    reporter.enter(ProgressPhase.WORKING)
    reporter.progress(10, 10, {"loss": 1.0})
    reporter.enter(ProgressPhase.PUBLISHING, "file:///out")
    now = reporter.snapshot()
    assert (now.phase, now.percent, now.step, now.remaining_seconds) == (ProgressPhase.PUBLISHING, 100, 10, 0)
    assert now.metrics


def test_reading_is_told_and_ends_when_asked_to(reporter: Reporter, clock: Clock) -> None:
    tick = reporter.reading("reading model")
    clock.now += 2
    tick(1_500_000_000)
    assert reporter.snapshot().message == "reading model: 1.50 GB"
    reporter.stop()
    with pytest.raises(StageError) as caught:
        tick(1)
    assert caught.value.reason is FailureReason.INTERRUPTED


def test_lines_come_at_first_at_last_and_now_and_then(
    reporter: Reporter, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    reporter.enter(ProgressPhase.WORKING)
    for step in range(31):
        reporter.progress(step, 30, {})
        clock.now += 1
    assert [record.message.split(" ")[0] for record in caplog.records] == [
        "Working",
        "0/30",
        "10/30",
        "20/30",
        "30/30",
    ]


def test_a_line_reads_well() -> None:
    now = Progress(phase=ProgressPhase.WORKING, step=12, total_steps=500, percent=2.4, remaining_seconds=200)
    assert line(now) == "12/500 (2 %), 3 min 20 s left"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (7500, "2 h 5 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


WORK = """
import logging, sys
from speechless.contract import ProgressPhase
from speechless.progress import showing
logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
with showing() as reporter:
    reporter.enter(ProgressPhase.WORKING, "counting")
    for step in range(4):
        reporter.progress(step, 3, {"loss": 2.5})
        logging.info("log line %d", step)
print("result")
"""


def on_a_terminal(code: str) -> tuple[str, str]:
    """Run a program whose standard error is a terminal; what it printed, and what the terminal got."""
    master, slave = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    done = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=slave, text=True, env=env
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            piece = os.read(master, 4096)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(master)
    printed, _ = done.communicate(timeout=60)
    assert done.returncode == 0, shown.decode()
    return printed, shown.decode()


def test_a_terminal_gets_a_bar_with_the_log_above_it() -> None:
    printed, shown = on_a_terminal(WORK)
    assert printed == "result\n"
    assert "counting" in shown
    assert "━" in shown
    assert "3/3 (100 %)" in shown
    # A line of the log begins where the bar was taken away: it never stands behind it.
    lines = [line for line in shown.replace("\r", "\n").split("\n") if "log line" in line]
    assert len(lines) == 4
    assert all("━" not in line for line in lines)


def test_a_pipe_gets_lines() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WORK], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "result\n"
    assert "Working: counting" in done.stderr
    assert "3/3 (100 %), loss 2.5" in done.stderr
    assert "━" not in done.stderr
