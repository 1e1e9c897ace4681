"""How much of a machine a container may use, by its control group."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from speechless.cpus import usable_cpus, usable_memory

HERE = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("max 100000\n", HERE),
        ("100000 100000\n", 1),
        ("50000 100000\n", 1),
        ("190000 100000\n", 1),
        (f"{(HERE + 9) * 100000} 100000\n", HERE),
        ("nonsense", HERE),
        (None, HERE),
    ],
)
def test_whole_cpus_of_a_quota(text: str | None, cpus: int, tmp_path: Path) -> None:
    file = tmp_path / "cpu.max"
    if text is not None:
        file.write_text(text)
    assert usable_cpus(file) == cpus


def test_memory_of_a_limit(tmp_path: Path) -> None:
    file, machine = tmp_path / "memory.max", usable_memory(tmp_path / "missing")
    assert machine > 1 << 28
    for text, expected in (("1048576\n", 1 << 20), ("max\n", machine), (str(machine * 2), machine)):
        file.write_text(text)
        assert usable_memory(file) == expected
