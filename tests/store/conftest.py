"""A server of a kind for the run of a process, and a fresh bucket for each test."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from speechless.store import claim, oci
from tests.store.acts import InBucket, use
from tests.support import buckets, registry, s3
from tests.support.ports import free_port

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.Server]:
    with s3.serving(tmp_path_factory.mktemp("s3")) as found:
        yield found


@pytest.fixture
def bucket(server: s3.Server, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bucket's folder; this process's environment reaches it."""
    use(monkeypatch, server.environment())
    return server.bucket(f"bucket-{next(_NUMBERS)}")


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], buckets.Server]]:
    """The server of a scheme, which the first test that asks for it starts."""
    with ExitStack() as running:
        started: dict[str, buckets.Server] = {}

        def server_of(scheme: str) -> buckets.Server:
            if scheme not in started:
                serving = buckets.ROWS[scheme].serving(tmp_path_factory.mktemp(scheme))
                started[scheme] = running.enter_context(serving)
            return started[scheme]

        yield server_of


@pytest.fixture(params=list(buckets.ROWS))
def place(
    request: pytest.FixtureRequest,
    servers: Callable[[str], buckets.Server],
    monkeypatch: pytest.MonkeyPatch,
) -> InBucket:
    """A fresh bucket of each kind; this process's environment reaches it."""
    server = servers(request.param)
    use(monkeypatch, server.environment())
    return InBucket(buckets.ROWS[request.param], server, server.bucket(f"bucket-{next(_NUMBERS)}"))


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Publishers that wait for each other for less time than people do."""
    monkeypatch.setattr(claim, "BEAT", 0.1)
    monkeypatch.setattr(claim, "PATIENCE", 1.0)
    monkeypatch.setattr(claim, "LOOK", 0.1)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """What is to be published: a file of several parts, small ones, and names that have to be written with care."""
    folder = tmp_path / "work"
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "empty").write_bytes(b"")
    (folder / "sub" / "a b%c+d?ü.txt").write_text("text\n")
    (folder / "weights.bin").write_bytes(bytes(range(256)) * 80_000)
    return folder


@pytest.fixture
def alone_with_registries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine's own configuration, and less waiting."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "no-docker"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(oci, "SETTLE", 0.5)


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry that anybody may push to."""
    port = free_port()
    with registry.serving(
        None, tmp_path_factory.mktemp("registry"), port, storage={"delete": {"enabled": True}}
    ):
        yield f"127.0.0.1:{port}"


@pytest.fixture
def name() -> str:
    """A repository of this test's own."""
    return f"demo/finetune/tuned-{next(_NUMBERS)}"
