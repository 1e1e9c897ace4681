"""A real registry (CNCF Distribution, as Debian packages it) beside the node of a cluster, for as long as a block runs.

It listens on the loopback of the node's network: containerd speaks plain HTTP to such an address without being told.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import cluster as clusters
from tests.support.beside import inside, running

HOST = "127.0.0.1"


@contextmanager
def serving(instance: str, folder: Path, port: int, *, login: bool = False) -> Iterator[Path]:
    """Serve in the network of the instance's node; the log of its requests. With `login`, it refuses who has none."""
    program = clusters.program("registry") / "usr" / "bin" / "docker-registry"
    store = folder / "store"
    store.mkdir()
    settings = {
        "version": 0.1,
        "log": {"accesslog": {"disabled": False}},
        "storage": {"filesystem": {"rootdirectory": str(store)}},
        "http": {"addr": f"{HOST}:{port}"},
        # "silly": any credentials do, none do not (the registry's own, for tests).
        **({"auth": {"silly": {"realm": "test", "service": "test"}}} if login else {}),
    }
    config, log = folder / "registry.yaml", folder / "registry.log"
    config.write_text(json.dumps(settings))  # JSON is YAML
    argv = [*inside(instance), program, "serve", config]
    knock = [*inside(instance), "bash", "-c", f": < /dev/tcp/{HOST}/{port}"]

    def listens() -> bool:
        return subprocess.run(knock, capture_output=True, check=False).returncode == 0

    with running(argv, log, listens):
        yield log
