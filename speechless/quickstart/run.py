"""Run the chain: skip what is done, show what runs, stop at the first step that fails."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from speechless.progress.display import duration
from speechless.quickstart.record import Record
from speechless.quickstart.screen import Screen, Tell
from speechless.quickstart.steps import PLACES, Step

LAST_LINES = 12
END_SECONDS = 300
"""How long a checkpoint may take to be written."""
_TAIL = 65_536
_LOGGED = re.compile(r"(DEBUG|INFO|WARNING) |\d{4}-\d\d-\d\d ")


class StepError(Exception):
    """A step failed; the message says where its output is."""


def run_all(folder: Path, steps: Sequence[Step], screen: Screen) -> Record:
    """Run the steps in a folder; the record of what was done, with times."""
    record, before = Record(folder), ""
    for number, step in enumerate(steps, 1):
        screen.head(number, len(steps), step.text, step.shown())
        if record.done(step, before):
            screen.done(f"there already (it took {duration(record.seconds(step))})")
        else:
            if not record.begun(step, before):
                _clear(folder, step, ours=record.knows(step))
            record.begin(step, before)
            began = time.monotonic()
            _run(folder, number, step, screen)
            record.end(step, before, time.monotonic() - began)
            screen.done(duration(time.monotonic() - began))
        before = record.key(step, before)
    return record


def _clear(folder: Path, step: Step, *, ours: bool) -> None:
    """Take away what the same step made when it was asked something else. (One that was interrupted goes on.)

    Raises:
        StepError: Something of that name is there, and no quickstart made it.
    """
    for place in {path.parent for path in step.made if path.name not in step.kept}:
        target = folder / place
        if target.exists() and not ours:
            raise StepError(
                f"{target} is there already, and this quickstart did not make it; give another --out"
            )
        shutil.rmtree(target, ignore_errors=True)


def _run(folder: Path, number: int, step: Step, screen: Screen) -> None:
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)
    log = logs / f"{number:02}-{step.name.replace(' ', '-')}.log"
    with screen.working() as tell, log.open("wb") as output:
        child = subprocess.Popen(
            step.argv(),
            cwd=folder,
            env=environment(step),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _follow(child, log, tell)
        except BaseException:
            end(child)
            raise
    for line in tail(log) if child.returncode else _result(log):
        screen.said(f"  {line}")
    if child.returncode != 0:
        raise StepError(
            f"step {number} ({step.name}) failed with exit status {child.returncode}; all of its output is in {log}"
        )


def environment(step: Step) -> dict[str, str]:
    """This process's, without what decides where a task's files are; PYTHON would choose another interpreter."""
    own = {name: value for name, value in os.environ.items() if name not in (*PLACES, "PYTHON")}
    return {**own, **step.env, "PYTHONUNBUFFERED": "1"}


def _follow(child: subprocess.Popen[bytes], log: Path, tell: Tell) -> None:
    with log.open("rb") as written:
        while True:
            ended = child.poll() is not None
            lines = written.read().decode(errors="replace").replace("\r", "\n").splitlines()
            if last := next((line for line in reversed(lines) if line.strip()), ""):
                tell(last)
            if ended:
                return
            time.sleep(0.1)


def end(child: subprocess.Popen[bytes]) -> None:
    """A training run writes a checkpoint when it is told to end. Interrupted again, it is not waited for."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(END_SECONDS)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            child.kill()
            child.wait()


def _result(log: Path) -> list[str]:
    """What a command printed as its result: no log lines, no bars; the last line in any case."""
    lines = tail(log, 40)
    said = [line for line in lines if not _LOGGED.match(line) and "it/s]" not in line]
    return (said or lines[-1:])[-LAST_LINES:]


def tail(log: Path, most: int = LAST_LINES) -> list[str]:
    """The last lines that a command printed."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL))
        lines = [line.rstrip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    return lines[-most:]
