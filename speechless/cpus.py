"""How many CPUs and how much memory this process may use."""

import os
from pathlib import Path

_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
_MEMORY_MAX = Path("/sys/fs/cgroup/memory.max")


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


def limited_cpus() -> int | None:
    """Whole CPUs, where this process may use fewer than the machine has; else None.

    Libraries and programs count the machine's. So this is told to those that start a thread for each.
    """
    usable = usable_cpus()
    return usable if usable < (os.cpu_count() or 1) else None


def usable_memory(memory_max: Path = _MEMORY_MAX) -> int:
    """Bytes of memory: of the machine, or of the container where that may use fewer (`memory_max`, of cgroup v2)."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(whole, int(memory_max.read_text(encoding="ascii")))
    except (OSError, ValueError):
        return whole
