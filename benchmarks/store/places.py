"""What is measured, a row each: a place, how it is served here, and the tools that people have for it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support import registry, s3
from tests.support.ports import free_port

OURS = "speechless"
BUCKET = "bench"
ADDRESS = "BENCH_ADDRESS"
"""The variable of a registry's `host:port`."""
Environment = dict[str, str]


@dataclass(frozen=True)
class Tool:
    """Something that moves a folder: how it is called, and what must be there for it."""

    name: str
    get: Callable[[str, Path, Environment], list[str]]
    """(path at the place, an empty folder, the place's variables)."""
    put: Callable[[Path, str, Environment], list[str]] | None = None
    """(the folder, path at the place, the place's variables); None: it is there already, and only read."""
    program: str | None = None
    """Looked for on the PATH."""
    module: str | None = None
    """Looked for in this Python."""

    def there(self) -> bool:
        """Whether it can be called."""
        return not (
            (self.program and not shutil.which(self.program))
            or (self.module and importlib.util.find_spec(self.module) is None)
        )


@dataclass(frozen=True)
class Place:
    """A kind of store."""

    serving: Callable[[Path, Path], AbstractContextManager[Environment]]
    """(a folder for the server, the folder that is moved): what clients are told by variables."""
    tools: tuple[Tool, ...]


def ours(uri: Callable[[str, Environment], str], *, writes: bool = True, module: str | None = None) -> Tool:
    """Our store, as a stage calls it."""

    def call(action: str, path: str, folder: Path, environment: Environment) -> list[str]:
        return [
            sys.executable,
            "-m",
            "benchmarks.store.move",
            action,
            uri(path, environment),
            str(folder),
        ]

    return Tool(
        OURS,
        lambda path, to, env: call("get", path, to, env),
        (lambda of, path, env: call("put", path, of, env)) if writes else None,
        module=module,
    )


@contextmanager
def bucket(folder: Path, _source: Path) -> Iterator[Environment]:
    """versitygw over the folder."""
    with s3.serving(folder) as server:
        server.bucket(BUCKET)
        yield {**s3.use(server), "S3_ENDPOINT_URL": server.endpoint, "AWS_REGION": "us-east-1"}


@contextmanager
def distribution(folder: Path, _source: Path) -> Iterator[Environment]:
    """The CNCF registry over the folder."""
    port = free_port()
    with registry.serving(None, folder, port):
        yield {**os.environ, "NO_PROXY": "127.0.0.1", ADDRESS: f"127.0.0.1:{port}"}


@contextmanager
def hub(_folder: Path, source: Path) -> Iterator[Environment]:
    """The tests' hub, with the folder as a dataset."""
    from tests.library.hub_server import hub as serve

    with serve() as state:
        state.repos["org/bench"] = source
        yield {**os.environ, "NO_PROXY": "127.0.0.1", "HF_ENDPOINT": state.url, "HF_HUB_DISABLE_XET": "1"}


SNAPSHOT = """
import sys, huggingface_hub
huggingface_hub.snapshot_download("org/bench", repo_type="dataset", cache_dir=sys.argv[1])
"""

PLACES = {
    "bucket": Place(
        bucket,
        (
            ours(lambda path, _: f"s3://{BUCKET}/{path}"),
            Tool(
                "s5cmd",
                lambda path, to, _: ["s5cmd", "cp", f"s3://{BUCKET}/{path}/*", f"{to}/"],
                lambda of, path, _: ["s5cmd", "cp", f"{of}/", f"s3://{BUCKET}/{path}/"],
                program="s5cmd",
            ),
            Tool(
                "aws",
                lambda path, to, _: [
                    "aws",
                    "s3",
                    "cp",
                    "--recursive",
                    "--quiet",
                    f"s3://{BUCKET}/{path}",
                    str(to),
                ],
                lambda of, path, _: [
                    "aws",
                    "s3",
                    "cp",
                    "--recursive",
                    "--quiet",
                    str(of),
                    f"s3://{BUCKET}/{path}",
                ],
                program="aws",
            ),
        ),
    ),
    "registry": Place(
        distribution,
        (
            ours(lambda path, env: f"oci://{env[ADDRESS]}/{path}:v1"),
            Tool(
                "oras",
                lambda path, to, env: [
                    "oras",
                    "pull",
                    "--plain-http",
                    "-o",
                    str(to),
                    f"{env[ADDRESS]}/{path}:v1",
                ],
                lambda of, path, env: [
                    "sh",
                    "-c",
                    'cd "$1" && exec oras push --plain-http "$2" *',
                    "sh",
                    str(of),
                    f"{env[ADDRESS]}/{path}:v1",
                ],
                program="oras",
            ),
        ),
    ),
    "hub": Place(
        hub,
        (
            ours(lambda _path, _env: "hf://datasets/org/bench", writes=False, module="huggingface_hub"),
            Tool(
                "huggingface_hub",
                lambda _path, to, _env: [sys.executable, "-c", SNAPSHOT, str(to)],
                module="huggingface_hub",
            ),
        ),
    ),
}
