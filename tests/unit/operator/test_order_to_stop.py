"""SIGTERM: the process is gone in time, whatever hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: none
contexts: [{name: none, context: {cluster: none, user: none}}]
clusters: [{name: none, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: none, user: {}}]
"""
PROGRAM = """
import sys, threading, time
from speechless_operator.main import main
from speechless_operator.runtime import app

app._END_SECONDS = 1.0
if sys.argv[1] == "hangs":
    threading.Thread(target=time.sleep, args=(300,)).start()
images = [f"--image-{name}=none" for name in ("train", "eval", "quantize", "serve-llamacpp")]
sys.exit(main(["run", "--listen=127.0.0.1:0", "--artifact-store=pvc://a/b", *images]))
"""


def ordered_to_stop(tmp_path: Path, how: str) -> tuple[int, str]:
    """Start an operator that waits for an API server, send it SIGTERM; its exit status and what it said afterwards."""
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    env = os.environ | {"KUBECONFIG": str(tmp_path / "kubeconfig")}
    argv = [sys.executable, "-c", PROGRAM, how]
    with subprocess.Popen(argv, env=env, stderr=subprocess.PIPE, text=True) as operator:
        assert operator.stderr is not None
        try:
            waits = any("127.0.0.1:9" in line for line in operator.stderr)
            assert waits, "it ended before it was ordered to, or never said that it waits for the API server"
            operator.send_signal(signal.SIGTERM)
            _, said = operator.communicate(timeout=60)
        finally:
            operator.kill()
    return operator.returncode, said


def test_it_ends_by_itself(tmp_path: Path) -> None:
    status, said = ordered_to_stop(tmp_path, "well")
    assert status == 0, said


@pytest.mark.timeout(180)
def test_a_thread_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    status, said = ordered_to_stop(tmp_path, "hangs")
    assert status == 1, said
    assert "something still hangs 1 s after the order to stop" in said
