"""A run that is told to end saves a checkpoint, however many times Ctrl-C reaches it."""

import signal
import subprocess
import sys

import pytest

RUN = """
import signal
import time
from speechless.finetune import finetune
from speechless.progress import Reporter

times = iter([{times}])
reporter = Reporter(lambda _: None)
handler = finetune._handler(reporter, lambda: next(times))
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, handler)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
    signal.raise_signal(number)
    time.sleep(0.01)  # handlers run between two steps of the interpreter
print("saved" if reporter.stopping() else "went on")
"""


def ended(times: str) -> "subprocess.CompletedProcess[str]":
    """SIGINT at the first of the times, SIGTERM and SIGINT after it."""
    return subprocess.run(
        [sys.executable, "-c", RUN.format(times=times)], capture_output=True, text=True, check=False
    )


def test_a_signal_that_comes_by_several_ways_is_one() -> None:
    done = ended("10.0, 10.0, 11.5")
    assert done.stdout == "saved\n", done.stderr
    assert done.stderr.count("stopping, what was trained is saved") == 1


@pytest.mark.parametrize(
    ("times", "by"), [("10.0, 15.0, 15.0", signal.SIGTERM), ("10.0, 10.1, 20.0", signal.SIGINT)]
)
def test_a_later_one_ends_it_at_once(times: str, by: int) -> None:
    done = ended(times)
    assert (done.returncode, done.stdout) == (-by, "")
