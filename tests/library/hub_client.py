"""A program of ours that asks a hub, in a process of its own: its client reads variables when it is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

Run = Callable[..., "subprocess.CompletedProcess[str]"]
"""(words behind `python`, variables): its output and exit status."""
_OTHERS = {"HF_HUB_OFFLINE", "HF_TOKEN", "DATASET_CONFIG", "DATASET_SPLIT"}
"""Variables of whoever runs the tests."""


def client(url: str, folder: Path) -> Run:
    """What runs Python in a folder, with the hub at `url` and a cache of its own."""

    def go(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        own = {
            "HF_ENDPOINT": url,
            "HF_HOME": str(folder / "home"),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "NO_PROXY": "*",
        }
        return subprocess.run(
            [sys.executable, *words],
            cwd=folder,
            env={key: value for key, value in os.environ.items() if key not in _OTHERS} | own | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    return go
