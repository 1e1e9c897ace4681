"""SIGTERM while a stage works: it ends with 75, and nothing is published."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from speechless.contract import StageResult

STAGE = (sys.executable, "-m", "speechless.stage")


def test_sigterm_while_reading_ends_with_75(tmp_path: Path) -> None:
    # A sparse file of 32 GiB takes longer to digest than the test waits.
    (tmp_path / "in").mkdir()
    with (tmp_path / "in" / "model.gguf").open("wb") as file:
        file.truncate(32 << 30)
    spec = {
        "stage": "fetch",
        "workDir": str(tmp_path / "scratch"),
        "output": (tmp_path / "out").as_uri(),
        "source": {"uri": (tmp_path / "in").as_uri()},
    }
    (tmp_path / "stage.json").write_text(json.dumps(spec))
    message, log = tmp_path / "termination-log", tmp_path / "log"
    with log.open("w") as stderr:
        stage = subprocess.Popen(
            [*STAGE, "fetch", "--spec", str(tmp_path / "stage.json"), "--listen", "127.0.0.1:0"],
            env=os.environ | {"SPEECHLESS_TERMINATION_LOG": str(message)},
            stderr=stderr,
        )
    try:
        while "reading source" not in log.read_text():
            assert stage.poll() is None, log.read_text()
            time.sleep(0.05)
        stage.send_signal(signal.SIGTERM)
        assert stage.wait(timeout=30) == 75
    finally:
        stage.kill()
    result = StageResult.model_validate_json(message.read_text())
    assert result.failure
    assert result.failure.reason == "Interrupted"
    assert not (tmp_path / "out").exists()
    assert list((tmp_path / "scratch").iterdir()) == []
