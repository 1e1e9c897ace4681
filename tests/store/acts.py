"""What is done to every store: published, fetched, killed, and cut; and what holds whatever was done."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest
from aiohttp import web

from speechless.contract import Format, Source
from speechless.errors import StageError
from speechless.store import ManifestFields, digest_tree, store_for
from tests.store.proxy import Fault, Proxy
from tests.support.buckets import Bucket, Row, Server

FIELDS = ManifestFields(format=Format.HUGGING_FACE, created_at="2026-01-02T03:04:05Z")
READ = (Fault.BUSY, Fault.SLOW, Fault.CUT_REQUEST, Fault.CUT_ANSWER, Fault.WRONG_ANSWER)
UNCHECKED = (*READ, Fault.LOSE_ANSWER)
WRITE = (*UNCHECKED, Fault.WRONG_REQUEST)


class Way(NamedTuple):
    """How something is reached: directly, or through a proxy."""

    uri: str
    environment: dict[str, str]


class Place(Protocol):
    """Where a test publishes."""

    @property
    def root(self) -> str:
        """The server's URL, for a proxy."""

    @property
    def writes(self) -> Sequence[Fault]:
        """The faults of a network that it bears while it is written to."""

    def way(self, name: str, proxy: str = "") -> Way:
        """To the artifact of this name."""


@dataclass(frozen=True)
class InBucket:
    """A bucket as a place."""

    row: Row
    server: Server
    bucket: Bucket

    @property
    def root(self) -> str:
        return self.server.endpoint

    @property
    def writes(self) -> Sequence[Fault]:
        return WRITE if self.row.checks else UNCHECKED

    def way(self, name: str, proxy: str = "") -> Way:
        return Way(self.uri(name), self.server.environment(proxy or None))

    def uri(self, path: str = "demo/finetune/tuned/1a2b") -> str:
        return f"{self.row.scheme}://{self.bucket.name}/{path}"

    def copy(self, folder: Path, key: str) -> None:
        """Put a folder's files there, as another program would."""
        for file in folder.rglob("*"):
            if file.is_file():
                self.bucket.put(f"{key}/{file.relative_to(folder).as_posix()}", file.read_bytes())


def publish(work: Path, uri: str) -> Any:
    return store_for(uri).publish(work, uri, FIELDS)


def fetch(uri: str, into: Path, digest: str | None = None) -> Any:
    return store_for(uri).open(Source(uri=uri, digest=digest), into)


def use(monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


# ------------------------------------------------------------------------------------------------------------ processes


def child(action: str, way: Way, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.store.child", action, way.uri, str(folder)],
        env={**os.environ, **way.environment},
        stdout=subprocess.PIPE,
        text=True,
    )


def told(process: subprocess.Popen[str]) -> Any:
    out, _ = process.communicate(timeout=300)
    return json.loads(out.splitlines()[-1])


def of_a_killed_client(test: Any) -> Any:
    """Its last connections, which asyncio accepts in the proxy when it is dead and drops without closing them.

    Nothing of the stores is hidden by it: their client's sockets are not Python's.
    """
    for what in ("unclosed transport <_SelectorSocketTransport", r"unclosed <socket\.socket .*127\.0\.0\.1"):
        test = pytest.mark.filterwarnings(f"ignore:{what}:ResourceWarning")(test)
    return test


class Killer:
    """Ends a process at its nth request, before or after the server has it."""

    def __init__(self, at: int, *, after: bool) -> None:
        self._at, self._after = at, after
        self.process: subprocess.Popen[str] | None = None
        self.ready = threading.Event()

    def __call__(self, number: int, _request: web.BaseRequest) -> Fault:
        if number != self._at:
            return Fault.NONE
        self.ready.wait(10)
        assert self.process
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        return Fault.LOSE_ANSWER if self._after else Fault.CUT_REQUEST


def killed(place: Place, action: str, name: str, folder: Path, at: int, *, after: bool) -> bool:
    """Run it, and kill it at that request; False if it was done before."""
    killer = Killer(at, after=after)
    with Proxy(place.root, killer) as proxy:
        killer.process = child(action, place.way(name, proxy.url), folder)
        killer.ready.set()
        killer.process.communicate(timeout=300)
    return killer.process.returncode == -signal.SIGKILL


def kill_publishers(place: Place, work: Path, tmp_path: Path, *, after: bool, step: int = 1) -> None:
    """Kill one at each request, or at each of so many: it is whole or absent, and another one publishes it."""
    wanted = digest_tree(work)[0]
    for at in itertools.count(1 + (step // 2 if after else 0), step):
        name = f"killed-{'after' if after else 'before'}-{at}"
        going_on = killed(place, "publish", name, work, at, after=after)
        uri = place.way(name).uri
        found = store_for(uri).find(uri)
        assert found is None or found.artifact.digest == wanted
        assert publish(work, uri).artifact.digest == wanted
        assert fetch(uri, tmp_path / f"in-{at}").digest == wanted
        if not going_on:
            assert at > 12
            return


def kill_readers(place: Place, work: Path, tmp_path: Path, *, step: int = 1) -> None:
    """Kill one at each request, or at each of so many: another one goes on, and has it whole."""
    uri = place.way("read").uri
    made = publish(work, uri)
    for at in itertools.count(1, step):
        into = tmp_path / f"in-{at}"
        going_on = killed(place, "open", "read", into, at, after=False)
        assert fetch(uri, into).digest == made.artifact.digest
        assert digest_tree(into) == digest_tree(work)
        if not going_on:
            assert at > 6
            return


def inject_faults(
    place: Place, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, rounds: int = 6
) -> None:
    """Publish and fetch with a fault at each fourth request, by chance: it is whole, or what went wrong is told."""
    chance, wanted, injected, wrong = random.Random(seed), digest_tree(work)[0], 0, list[str]()
    for number in range(rounds):
        uri, direct = place.way(f"faults-{number}")
        for action, kinds in (("publish", place.writes), ("open", READ)):

            def decide(_number: int, _request: web.BaseRequest, kinds: Any = kinds) -> Fault:
                return chance.choice(kinds) if chance.random() < 0.25 else Fault.NONE

            with Proxy(place.root, decide) as proxy:
                through, environment = place.way(f"faults-{number}", proxy.url)
                use(monkeypatch, environment)
                try:
                    if action == "publish":
                        assert publish(work, through).artifact.digest == wanted
                    else:
                        assert fetch(through, tmp_path / f"in-{number}").digest == wanted
                except StageError as problem:
                    wrong = [*wrong, problem.message] if through not in problem.message else wrong
                injected += sum(fault is not Fault.NONE for fault in proxy.faults)
            use(monkeypatch, direct)
            found = store_for(uri).find(uri)
            assert found is None or found.artifact.digest == wanted
            publish(work, uri)
        assert fetch(uri, tmp_path / f"in-{number}").digest == wanted
        assert digest_tree(tmp_path / f"in-{number}") == digest_tree(work)
    assert wrong == []
    assert injected >= 3 * rounds


# ---------------------------------------------------------------------------------------------------------- checkpoints


def checkpoint(folder: Path, step: int) -> None:
    path = folder / f"checkpoint-{step}"
    (path / "sub").mkdir(parents=True)
    (path / "model").write_bytes(b"%d" % step * 3_000_000)
    (path / "sub" / "state").write_text("state")
