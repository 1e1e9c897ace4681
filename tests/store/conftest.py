"""A server for the run of a process, and a fresh bucket for each test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from speechless.store import oci
from tests.support import registry, s3
from tests.support.ports import free_port

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.Server]:
    with s3.serving(tmp_path_factory.mktemp("s3")) as found:
        yield found


@pytest.fixture
def bucket(server: s3.Server, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bucket's folder; this process's environment reaches it."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return server.bucket(f"bucket-{next(_NUMBERS)}")


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
