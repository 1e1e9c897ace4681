"""Where things lie: caches that can be deleted any time, state that is the cluster, and the sockets of this boot."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def _home(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / default).absolute()


def cache() -> Path:
    """Binaries, downloaded packages, the base image's tarball: `$SPEECHLESS_CACHE`, else `~/.cache/speechless`."""
    return _home("SPEECHLESS_CACHE", ".cache/speechless")


def state() -> Path:
    """One folder an instance: `$SPEECHLESS_CLUSTER_STATE`, else `~/.local/state/speechless/cluster`."""
    return _home("SPEECHLESS_CLUSTER_STATE", ".local/state/speechless/cluster")


def runtime() -> Path:
    """Sockets and namespace files; gone after a reboot, as they should be."""
    return Path("/run/speechless-cluster")
