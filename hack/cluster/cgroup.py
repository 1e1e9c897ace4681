"""The control group that holds all processes of an instance: components, container shims and containers.

It is how `down` finds every process, also those whose pid file is lost and those that a container started. Works with
cgroup v1 (one hierarchy a controller) and v2 (one for all).
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from .errors import ClusterError
from .instance import Instance

ROOT = Path("/sys/fs/cgroup")


def _hierarchies() -> list[Path]:
    """Every mounted hierarchy: v2's is its root, v1's are the mount points below."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, point = after.split()[0], Path(before.split()[4])
        if kind in ("cgroup", "cgroup2") and point.is_relative_to(ROOT):
            found.append(point)
    if not found:
        raise ClusterError(
            f"no control groups are mounted under {ROOT}", "this needs a Linux with cgroup v1 or v2"
        )
    return sorted(set(found))


def ensure(instance: Instance) -> None:
    """Make the instance's group and the one for its components in each hierarchy."""
    for hierarchy in _hierarchies():
        group = hierarchy / instance.cgroup
        for path in (group, group / "system"):
            path.mkdir(exist_ok=True)
            for setting in ("cpuset.cpus", "cpuset.mems"):  # v1: empty until set, and then nobody can join
                file = path / setting
                if (path / "tasks").exists() and file.exists() and not file.read_text().strip():
                    file.write_text((path.parent / setting).read_text())


def join_files(instance: Instance, child: str) -> list[Path]:
    """The files into which a process writes its pid to enter the group."""
    return [h / instance.cgroup / child / "cgroup.procs" for h in _hierarchies()]


def _groups(instance: Instance, below: str = "") -> list[Path]:
    """The group and all below it, in every hierarchy, children first."""
    groups: list[Path] = []
    for hierarchy in _hierarchies():
        top = hierarchy / instance.cgroup / below
        if top.is_dir():
            groups += [Path(folder) for folder, _, _ in os.walk(top, topdown=False)]
    return groups


def pids(instance: Instance, below: str = "") -> set[int]:
    """Every process in the group; `below` narrows to a child group, such as `kubepods`."""
    found: set[int] = set()
    for group in _groups(instance, below):
        with contextlib.suppress(FileNotFoundError, OSError):  # a group may vanish while we look
            found.update(int(p) for p in (group / "cgroup.procs").read_text().split())
    return found - {os.getpid(), 0}


def kill(instance: Instance, below: str = "", grace: float = 0) -> None:
    """End every process in the group: SIGTERM and up to `grace` seconds first, then SIGKILL until none is left."""
    if grace and pids(instance, below):
        _signal(instance, below, signal.SIGTERM)
        deadline = time.monotonic() + grace
        while pids(instance, below) and time.monotonic() < deadline:
            time.sleep(0.05)
    deadline = time.monotonic() + 30
    while left := pids(instance, below):
        if time.monotonic() > deadline:
            raise ClusterError(
                f"processes {sorted(left)} of {instance.name!r} do not end", "look at their state in `ps`"
            )
        _signal(instance, below, signal.SIGKILL)
        time.sleep(0.02)


def _signal(instance: Instance, below: str, number: signal.Signals) -> None:
    for pid in pids(instance, below):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def remove(instance: Instance) -> None:
    """Remove the (empty) groups."""
    for group in _groups(instance):
        for attempt in range(100):
            try:
                group.rmdir()
                break
            except FileNotFoundError:
                break
            except OSError:  # busy until the kernel has let the last process go
                if attempt == 99:
                    raise ClusterError(
                        f"{group} can't be removed", "processes are left in it: see its cgroup.procs"
                    ) from None
                time.sleep(0.05)


def present(instance: Instance) -> bool:
    """Whether any group of the instance is left."""
    return bool(_groups(instance))
