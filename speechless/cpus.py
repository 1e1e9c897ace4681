"""How many CPUs this process may use."""

import os
from pathlib import Path

_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def usable_cpus(cpu_max: Path = _CPU_MAX) -> int:
    """Whole CPUs, at least one: a container may use fewer than its node has, and more threads than that are throttled.

    `cpu_max` is the file of cgroup v2: `<quota> <period>` in microseconds, or `max <period>`.
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = cpu_max.read_text(encoding="ascii").split()
        return available if quota == "max" else max(1, min(available, int(quota) // int(period)))
    except (OSError, ValueError):
        return available
