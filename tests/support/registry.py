"""A real registry (CNCF Distribution, as Debian packages it), for as long as a block runs.

It listens on the loopback: of this machine, or of the network of a cluster's node, where containerd speaks plain HTTP
to such an address without being told.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support import cluster as clusters
from tests.support.beside import inside, running

HOST = "127.0.0.1"
USER, PASSWORD = "tests", "not-a-secret"
HASH = "$2b$04$epweTNpdUS5A8qIQwqaRGuDBlM4gd4YF7.bmtRMU4G5LDYxKwr5oG"
"""Of that password, by bcrypt."""


@contextmanager
def serving(
    instance: str | None,
    folder: Path,
    port: int,
    *,
    login: Mapping[str, Any] | None = None,
    storage: Mapping[str, Any] | None = None,
    listen: str = HOST,
    tls: Mapping[str, str] | None = None,
) -> Iterator[Path]:
    """Serve in the network of the instance's node, or of this machine; the log of its requests.

    `login`, `storage`, `tls`: the registry's own settings of `auth`, `storage` (beside its folder `store`), `http.tls`.
    """
    program = clusters.program("registry") / "usr" / "bin" / "docker-registry"
    store = folder / "store"
    store.mkdir(exist_ok=True)
    settings = {
        "version": 0.1,
        "log": {"accesslog": {"disabled": False}},
        "storage": {"filesystem": {"rootdirectory": str(store)}, **(storage or {})},
        "http": {"addr": f"{listen}:{port}", **({"tls": tls} if tls else {})},
        **({"auth": login} if login else {}),
    }
    config, log = folder / "registry.yaml", folder / "registry.log"
    config.write_text(json.dumps(settings))  # JSON is YAML
    around = inside(instance) if instance else []
    argv = [*around, program, "serve", config]
    knock = [*around, "bash", "-c", f": < /dev/tcp/{listen}/{port}"]

    def listens() -> bool:
        return subprocess.run(knock, capture_output=True, check=False).returncode == 0

    with running(argv, log, listens):
        yield log


def any_credentials(realm: str = "test") -> dict[str, Any]:
    """Credentials of any kind do, none do not (the registry's own, for tests); `realm`: where tokens are got."""
    return {"silly": {"realm": realm, "service": "test"}}


def password_file(folder: Path) -> dict[str, Any]:
    """USER and PASSWORD, by Basic authentication."""
    file = folder / "htpasswd"
    file.write_text(f"{USER}:{HASH}\n")
    return {"htpasswd": {"realm": "test", "path": str(file)}}
