"""The memory that a run tells is its own."""

import subprocess
import sys

PEAK = "from speechless.finetune.watch import peak_memory; print(peak_memory())"


def test_a_trainer_begins_with_its_own_peak_not_with_that_of_its_starter() -> None:
    held = bytearray(b"x") * (2 * 1024**3)
    done = subprocess.run(
        [sys.executable, "-c", PEAK], capture_output=True, text=True, check=True, timeout=110
    )
    assert 0 < float(done.stdout) < len(held)
