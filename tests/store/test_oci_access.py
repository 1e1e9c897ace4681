"""Who asks a registry: a Secret's account, Docker's own configuration, tokens that end."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from speechless.contract import FailureReason, Source
from speechless.errors import StageError
from speechless.store import Access, store_for
from tests.store.acts import FIELDS, publish
from tests.store.proxy import Fault, Proxy
from tests.store.registries import uri_of
from tests.support import registry
from tests.support.ports import free_port


@pytest.fixture(autouse=True)
def _alone(alone_with_registries: None) -> None:
    """Nothing of this machine's own configuration, and less waiting."""


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[str]:
    """A registry that wants a password."""
    port, folder = free_port(), tmp_path / "locked"
    folder.mkdir()
    with registry.serving(None, folder, port, login=registry.password_file(folder)):
        yield f"127.0.0.1:{port}"


def basic(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def secret(folder: Path, **keys: str) -> Access:
    folder.mkdir(parents=True, exist_ok=True)
    for key, value in keys.items():
        (folder / key.replace("dockerconfigjson", ".dockerconfigjson")).write_text(value)
    return Access(secrets={"registry": str(folder)})


WAYS: dict[str, Callable[[str], dict[str, str]]] = {
    "docker": lambda host: {
        "dockerconfigjson": json.dumps({"auths": {host: {"auth": basic(registry.USER, registry.PASSWORD)}}})
    },
    "docker-plain": lambda host: {
        "dockerconfigjson": json.dumps(
            {"auths": {host: {"username": registry.USER, "password": registry.PASSWORD}}}
        )
    },
    "account": lambda _: {"REGISTRY_USERNAME": registry.USER, "REGISTRY_PASSWORD": registry.PASSWORD},
}


@pytest.mark.parametrize("way", sorted(WAYS))
def test_a_password_of_a_secret(locked: str, work: Path, tmp_path: Path, way: str) -> None:
    uri, access = uri_of(locked, "team/model"), secret(tmp_path / "secret", **WAYS[way](locked))
    made = store_for(uri, access, "registry").publish(work, uri, FIELDS)
    opened = store_for(uri, access, "registry").open(Source(uri=uri), tmp_path / "in")
    assert opened.digest == made.artifact.digest


def test_the_password_of_docker_login(
    locked: str, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "docker"
    config.mkdir()
    auths = {locked: {"auth": basic(registry.USER, registry.PASSWORD)}}
    (config / "config.json").write_text(json.dumps({"auths": auths}))
    monkeypatch.setenv("DOCKER_CONFIG", str(config))
    assert not publish(work, uri_of(locked, "team/model")).reused


def test_a_helper_of_docker_is_asked(
    locked: str, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a machine has it where `docker login` keeps passwords in the system's store."""
    config, programs = tmp_path / "docker", tmp_path / "bin"
    config.mkdir()
    programs.mkdir()
    told = json.dumps({"Username": registry.USER, "Secret": registry.PASSWORD})
    helper = programs / "docker-credential-tests"
    helper.write_text(f"#!/bin/sh\ncat > {tmp_path}/asked\necho '{told}'\n")
    helper.chmod(0o755)
    (config / "config.json").write_text(json.dumps({"credHelpers": {locked: "tests"}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(config))
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    assert not publish(work, uri_of(locked, "team/model")).reused
    assert (tmp_path / "asked").read_text() == locked


def test_an_account_for_another_program_is_not_shown(
    locked: str, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ORAS_USER has no host: it would be shown to every registry."""
    (tmp_path / "no-docker").mkdir()
    (tmp_path / "no-docker" / "config.json").write_text("{}")
    monkeypatch.setenv("ORAS_USER", registry.USER)
    monkeypatch.setenv("ORAS_PASS", registry.PASSWORD)
    with pytest.raises(StageError, match="no credentials"):
        publish(work, uri_of(locked, "team/model"))


@pytest.fixture
def certified(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A registry with TLS, by a name that is not the loopback's to us, and its certificate."""
    port, folder = free_port(), tmp_path / "certified"
    folder.mkdir()
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=registry"]
    argv += [
        "-addext",
        "subjectAltName=DNS:registry.test",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    tls = {"certificate": str(certificate), "key": str(key)}
    with registry.serving(None, folder, port, tls=tls):
        yield f"registry.test:{port}", certificate.read_text()


def test_a_certificate_of_ones_own(
    certified: tuple[str, str], work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, certificate = certified
    monkeypatch.setenv("NO_PROXY", "registry.test")
    ask = socket.getaddrinfo  # no resolver knows the name: it is this machine's

    def resolve(name: str, *more: Any) -> Any:
        return ask("127.0.0.1" if name == "registry.test" else name, *more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    uri = uri_of(host, "team/model")
    with pytest.raises(StageError, match="CERTIFICATE_VERIFY_FAILED") as caught:
        publish(work, uri)
    assert "ca.crt" in (caught.value.hint or "")
    access = secret(tmp_path / "secret", **{"ca.crt": certificate})
    assert not store_for(uri, access, "registry").publish(work, uri, FIELDS).reused
    wrong = secret(tmp_path / "wrong", **{"ca.crt": "nonsense"})
    with pytest.raises(StageError, match=r"ca\.crt holds no certificates as PEM"):
        store_for(uri, wrong, "registry").prepare(uri)


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ({}, "no credentials"),
        ({"REGISTRY_USERNAME": "tests"}, "one of them is missing"),
        (
            {"REGISTRY_USERNAME": "tests", "REGISTRY_PASSWORD": "wrong"},
            "REGISTRY_USERNAME, REGISTRY_PASSWORD",
        ),
        ({"dockerconfigjson": '{"auths": {"other.example": {}}}'}, "it has some for: other.example"),
        ({"dockerconfigjson": "nonsense"}, "is not what Docker writes"),
        ({"dockerconfigjson": '{"credsStore": "../../bin/sh"}'}, "'auths' is missing"),
    ],
    ids=["none", "half", "wrong", "other", "nonsense", "helper"],
)
def test_credentials_that_do_not_do(
    locked: str, work: Path, tmp_path: Path, keys: dict[str, str], what: str
) -> None:
    uri = uri_of(locked, "team/model")
    access = secret(tmp_path / "secret", **keys)
    with pytest.raises(StageError, match=what) as caught:
        store_for(uri, access, "registry" if keys else None).prepare(uri)
    assert caught.value.reason is FailureReason.INPUT_FORBIDDEN
    assert registry.PASSWORD not in caught.value.message + (caught.value.hint or "")


class Tokens:
    """Gives tokens that last for one use of each scope, and remembers who asked for what."""

    def __init__(self) -> None:
        self.asked: list[tuple[str | None, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append((self.headers.get("Authorization"), self.path))
                content = json.dumps({"token": f"t{len(outer.asked)}"}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/token"
        self._thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join(10)


def test_tokens_are_got_with_the_password_and_anew_when_they_end(work: Path, tmp_path: Path) -> None:
    port, folder, tokens = free_port(), tmp_path / "registry", Tokens()
    folder.mkdir()
    challenge = {
        "Www-Authenticate": f'Bearer realm="{tokens.url}",service="test",scope="repository:x:pull,push"'
    }

    def decide(number: int, request: web.BaseRequest) -> Fault | web.Response:
        """Of two tokens, the first lasts for eight requests."""
        ended = number > 8 and request.headers.get("Authorization") == "Bearer t1"
        return web.Response(status=401, headers=challenge) if ended else Fault.NONE

    try:
        login = registry.any_credentials(tokens.url)
        with (
            registry.serving(None, folder, port, login=login),
            Proxy(f"http://127.0.0.1:{port}", decide) as proxy,
        ):
            uri = uri_of(proxy.url.removeprefix("http://"), "team/model")
            access = secret(tmp_path / "secret", REGISTRY_USERNAME="me", REGISTRY_PASSWORD="mine")
            made = store_for(uri, access, "registry").publish(work, uri, FIELDS)
            assert [who for who, _ in tokens.asked] == [f"Basic {basic('me', 'mine')}"] * 2
            assert "scope=repository" in tokens.asked[0][1]
            opened = store_for(uri).open(Source(uri=uri), tmp_path / "in")
            assert opened.digest == made.artifact.digest
            assert tokens.asked[-1][0] is None, "without credentials, an anonymous token is asked for"
    finally:
        tokens.close()
