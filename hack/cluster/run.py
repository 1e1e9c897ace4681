"""Running the machine's tools: argument lists only, and their own words in the error."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .errors import ClusterError


def run(
    argv: Sequence[str | Path],
    *,
    stdin: str | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 120,
    hint: str = "",
) -> str:
    """Standard output of a command that must succeed; ClusterError with what it wrote if it does not."""
    command = [str(a) for a in argv]
    try:
        done = subprocess.run(
            command,
            check=False,
            input=stdin,
            cwd=cwd,
            env=env,
            timeout=timeout,
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        raise ClusterError(
            f"{command[0]} is not on this machine", hint or "install it, then run again"
        ) from None
    except subprocess.TimeoutExpired:
        raise ClusterError(f"`{' '.join(command)}` did not end within {timeout:.0f} s", hint) from None
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip() or "no output")[-2000:]
        raise ClusterError(f"`{' '.join(command)}` ended with {done.returncode}: {words}", hint)
    return done.stdout


def succeeds(argv: Sequence[str | Path], *, timeout: float = 30) -> bool:
    """Whether a command ends with 0; what it prints is of no interest."""
    command = [str(a) for a in argv]
    try:
        return subprocess.run(command, check=False, capture_output=True, timeout=timeout).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def have(tool: str) -> bool:
    """Whether a tool is on PATH (or in /usr/sbin, which a plain user's PATH may lack)."""
    return shutil.which(tool) is not None or Path("/usr/sbin", tool).exists()
