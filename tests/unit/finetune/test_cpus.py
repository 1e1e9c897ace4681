"""How much of a machine a container may use, by its control group."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from speechless import openmp
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


def test_libraries_have_a_thread_for_each_cpu_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setattr(openmp, "limited_cpus", lambda: 2)
    openmp.settle_threads()
    assert os.environ["OMP_NUM_THREADS"] == "7", "who sets it knows better"
    monkeypatch.delenv("OMP_NUM_THREADS")
    openmp.settle_threads()
    assert os.environ["OMP_NUM_THREADS"] == "2"
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(openmp, "limited_cpus", lambda: None)
    openmp.settle_threads()
    assert "OMP_NUM_THREADS" not in os.environ


def test_a_command_on_one_cpu_of_several_starts_one_thread() -> None:
    """The kernel's own limit, a real process, and whatever its libraries read."""
    if HERE < 2:
        pytest.skip("one CPU is all there is")
    shown = "import os; print(os.environ.get('OMP_NUM_THREADS'))"
    code = f"from speechless.entry import guarded; guarded('x', lambda: exec({shown!r}) or 0)"
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}

    def on_one() -> None:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        preexec_fn=on_one,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "1\n"


def test_memory_of_a_limit(tmp_path: Path) -> None:
    file, machine = tmp_path / "memory.max", usable_memory(tmp_path / "missing")
    assert machine > 1 << 28
    for text, expected in (("1048576\n", 1 << 20), ("max\n", machine), (str(machine * 2), machine)):
        file.write_text(text)
        assert usable_memory(file) == expected
