"""Starting, recognising and stopping a component.

A pid alone proves nothing: after a reboot or a wrap it is somebody else's. A component is the process whose pid *and*
start time are the recorded ones, so a stale file never gets a stranger killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import cgroup, namespaces
from .errors import ClusterError
from .instance import Instance


@dataclass(frozen=True)
class Recorded:
    """What the pid file says."""

    pid: int
    start: int
    command: str


def _stat(pid: int) -> tuple[str, int] | None:
    """State letter and start time in clock ticks since boot (proc(5), fields 3 and 22), or None: no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return fields[0], int(fields[19])


def _file(instance: Instance, name: str) -> Path:
    return instance.run_dir / "pid" / name


def _recorded(instance: Instance, name: str) -> Recorded | None:
    try:
        return Recorded(**json.loads(_file(instance, name).read_text()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError):
        return (
            None  # cut short by a full disk or a crash: as good as none; the cgroup still knows the process
        )


def pid(instance: Instance, name: str) -> int | None:
    """The running component's pid, or None."""
    entry = _recorded(instance, name)
    if entry is None:
        return None
    stat = _stat(entry.pid)
    return entry.pid if stat is not None and stat[0] not in "ZX" and stat[1] == entry.start else None


def age(number: int) -> float:
    """Seconds that a process has been running."""
    stat = _stat(number)
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return max(0.0, uptime - stat[1] / os.sysconf("SC_CLK_TCK")) if stat else 0.0


def start(instance: Instance, name: str, argv: list[str], env: dict[str, str], config: str = "") -> bool:
    """Start a component unless the same one runs already. True if it was started now.

    `config` is what its files say: a component whose arguments or files changed is stopped and started anew.
    """
    command = hashlib.sha256(json.dumps([argv, env, config]).encode()).hexdigest()
    entry = _recorded(instance, name)
    if pid(instance, name) and entry is not None:
        if entry.command == command:
            return False
        stop(instance, name)
    _file(instance, name).parent.mkdir(parents=True, exist_ok=True)
    instance.log_dir.mkdir(parents=True, exist_ok=True)
    log = instance.log_dir / f"{name}.log"
    if log.exists() and log.stat().st_size > 50 << 20:
        log.replace(log.with_suffix(".log.1"))
    joins = cgroup.join_files(instance, "system")

    def enter() -> None:
        me = str(os.getpid())
        for file in joins:
            with open(file, "w") as out:
                out.write(me)

    with open(log, "ab") as output:
        child = subprocess.Popen(
            [*namespaces.enter(instance), *argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **env},
            cwd="/",
            start_new_session=True,
            preexec_fn=enter,  # noqa: PLW1509 - no thread runs beside this one
        )
    stat = _stat(child.pid)
    if stat is None:
        raise ClusterError(f"{name} was gone as soon as it started", f"its log: {log}")
    draft = _file(instance, f".{name}.new")
    draft.write_text(json.dumps({"pid": child.pid, "start": stat[1], "command": command}))
    draft.replace(_file(instance, name))
    return True


def stop(instance: Instance, name: str, grace: float = 15) -> None:
    """SIGTERM, wait until it is gone (an API server takes seconds to let its port go), then SIGKILL."""
    number = pid(instance, name)
    if number is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGTERM)
        deadline = time.monotonic() + grace
        while pid(instance, name) and time.monotonic() < deadline:
            _reap(number)
            time.sleep(0.05)
        if pid(instance, name):
            os.kill(number, signal.SIGKILL)
            while pid(instance, name):
                _reap(number)
                time.sleep(0.05)
    _file(instance, name).unlink(missing_ok=True)


def _reap(number: int) -> None:
    with contextlib.suppress(ChildProcessError):  # most are not our children: an earlier `up` started them
        os.waitpid(number, os.WNOHANG)


def log_tail(instance: Instance, name: str, lines: int = 12) -> str:
    """The end of a component's log, for an error message."""
    file = instance.log_dir / f"{name}.log"
    try:
        with open(file, "rb") as log:
            log.seek(max(0, file.stat().st_size - 8192))
            return "\n".join(line[:400] for line in log.read().decode(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return "(no log)"


def wait(instance: Instance, name: str, ready: Callable[[], bool], seconds: float, what: str) -> None:
    """Until `ready()` is true; ClusterError with the log's end when the component dies or takes too long."""
    deadline = time.monotonic() + seconds
    log = instance.log_dir / f"{name}.log"
    while not ready():
        number = pid(instance, name)
        if number is None:
            raise ClusterError(
                f"{name} ended while starting; the end of {log}:\n{log_tail(instance, name)}",
                "if it says what is missing, mend that and run `up` again",
            )
        _reap(number)
        if time.monotonic() > deadline:
            raise ClusterError(
                f"{what} was not ready after {seconds:.0f} s; the end of {log}:\n{log_tail(instance, name)}"
            )
        time.sleep(0.05)
