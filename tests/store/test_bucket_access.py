"""Who asks Amazon, Google and Azure: what the Secret says, or the environment; and none of both at once.

What answers here is ours and believes everybody: it is looked at what the client shows it.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from aiohttp import web

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.store import Access, store_for
from tests.support.handler import Handler


class Cloud(Handler):
    """Gives tokens, takes objects, and remembers who asked for what."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        """The Authorization of each object that was put."""
        self.asked: list[tuple[str, str]] = []
        """(path, form) of each request for a token."""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        content = (await request.content.read()).decode(errors="replace")
        if "token" in request.path:
            self.asked.append((request.raw_path, content))
            told = {
                "access_token": "given",
                "token_type": "Bearer",
                "expires_in": 3600,
                "expires_on": "4102444800",
            }
            return web.json_response(told)
        if request.method == "PUT":
            self.shown.append(request.headers.get("Authorization", ""))
        status = {"PUT": 201, "GET": 404, "HEAD": 404}.get(request.method, 204)
        headers = {"ETag": '"1"', "x-goog-generation": "1", "Last-Modified": "Thu, 26 Nov 2026 15:00:00 GMT"}
        return web.Response(status=status, headers=headers)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    monkeypatch.setattr("speechless.store.clients._retries", lambda: {"max_retries": 0})
    monkeypatch.setattr("speechless.store.transfer.time.sleep", lambda _: None)
    for name in [each for each in os.environ if each.startswith(("GOOGLE_", "AZURE_"))]:
        monkeypatch.delenv(name)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    with Cloud() as running:
        yield running


@pytest.fixture(scope="module")
def key() -> str:
    argv = ["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout


def account(key: str, name: str) -> str:
    """A service account's key, as Google gives it."""
    told = {"type": "service_account", "project_id": "tests", "private_key_id": "1", "private_key": key}
    return json.dumps({**told, "client_email": name, "token_uri": "http://127.0.0.1:9/token"})


def put(folder: Path, uri: str, secret: Mapping[str, str] | None = None) -> None:
    """Put an object, with a Secret or without one. What answers removes nothing: that is no part of it."""
    if secret is None:
        store, access = store_for(uri), Access()
    else:
        folder.mkdir()
        for name, value in secret.items():
            (folder / name).write_text(value)
        access = Access(secrets={"keys": str(folder)})
        store = store_for(uri, access, "keys")
    try:
        store.prepare(uri)
    except StageError as problem:
        if "bulk delete" not in problem.message:
            raise


def issuer(shown: str) -> str:
    """Who signed a token."""
    part = shown.removeprefix("Bearer ").split(".")[1]
    told = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return str(told["iss"])


# --------------------------------------------------------------------------------------------------------------- Google


@pytest.mark.parametrize(
    "variable", ["GOOGLE_SKIP_SIGNATURE", "GOOGLE_BASE_URL", "GOOGLE_APPLICATION_CREDENTIALS"]
)
def test_googles_key_of_a_secret_counts(
    cloud: Cloud, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    other = tmp_path / "other.json"
    other.write_text(
        json.dumps({"type": "authorized_user", "client_id": "x", "client_secret": "x", "refresh_token": "x"})
    )
    monkeypatch.setenv(
        variable,
        {"GOOGLE_SKIP_SIGNATURE": "true", "GOOGLE_BASE_URL": "http://127.0.0.1:9"}.get(variable, str(other)),
    )
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", account(key, "of-the-environment"))
    secret = {"GOOGLE_SERVICE_ACCOUNT_KEY": account(key, "of-the-secret"), "STORAGE_EMULATOR_HOST": cloud.url}
    put(tmp_path / "secret", "gs://bucket/out", secret)
    assert [issuer(shown) for shown in cloud.shown] == ["of-the-secret"]


@pytest.mark.parametrize(
    "variable", ["GOOGLE_BEARER_TOKEN", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH"]
)
def test_what_googles_client_would_take_before_the_key_is_told(
    cloud: Cloud, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "of-somebody-else")
    secret = {"GOOGLE_SERVICE_ACCOUNT_KEY": account(key, "of-the-secret"), "STORAGE_EMULATOR_HOST": cloud.url}
    with pytest.raises(StageError, match=f"is given, and so is {variable}: unset one of them") as caught:
        put(tmp_path / "secret", "gs://bucket/out", secret)
    assert caught.value.reason is FailureReason.INVALID_SPEC
    assert cloud.shown == []


def test_a_secret_without_googles_key_does_not_take_that_of_the_environment(
    cloud: Cloud, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", account(key, "of-the-environment"))
    with pytest.raises(StageError, match="the Secret has no GOOGLE_SERVICE_ACCOUNT_KEY"):
        put(tmp_path / "secret", "gs://bucket/out", {"STORAGE_EMULATOR_HOST": cloud.url})
    assert cloud.shown == []


def test_a_server_of_ones_own_needs_no_key_of_google(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the metadata server is not asked for one, which takes long where there is none."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", cloud.url.removeprefix("http://"))
    put(tmp_path, "gs://bucket/out")
    assert cloud.shown == ["Bearer none"]


# ---------------------------------------------------------------------------------------------------------------- Azure

PRINCIPAL = {"AZURE_TENANT_ID": "tenant", "AZURE_CLIENT_ID": "me", "AZURE_CLIENT_SECRET": "mine"}


@pytest.fixture
def azure(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What a Secret says of the account, beside who asks; and another program's variables."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", base64.b64encode(b"of-somebody-else").decode())
    monkeypatch.setenv("AZURE_STORAGE_TOKEN", "of-somebody-else")
    monkeypatch.setenv("AZURE_ENDPOINT", "http://127.0.0.1:9")
    return {
        "AZURE_STORAGE_ACCOUNT_NAME": "account",
        "AZURE_STORAGE_ENDPOINT": cloud.url,
        "AZURE_AUTHORITY_HOST": cloud.url,
    }


def test_a_service_principal_of_a_secret(
    cloud: Cloud, azure: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_CLIENT_ID", "of-somebody-else")
    put(tmp_path / "secret", "az://container/out", azure | PRINCIPAL)
    assert set(cloud.shown) == {"Bearer given"}
    path, form = cloud.asked[0]
    assert path.startswith("/tenant/")
    assert "client_id=me&" in form
    assert "client_secret=mine" in form


@pytest.mark.parametrize("missing", sorted(PRINCIPAL.keys() - {"AZURE_CLIENT_SECRET"}))
def test_a_part_of_a_service_principal_is_not_taken_from_the_environment(
    cloud: Cloud, azure: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setenv(missing, "of-somebody-else")
    told = {name: value for name, value in (azure | PRINCIPAL).items() if name != missing}
    with pytest.raises(StageError, match=f"go together: {missing} is missing") as caught:
        put(tmp_path / "secret", "az://container/out", told)
    assert caught.value.reason is FailureReason.INVALID_SPEC
    assert cloud.asked == []


def test_the_account_is_not_taken_from_the_environment(
    cloud: Cloud, azure: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "of-somebody-else")
    del azure["AZURE_STORAGE_ACCOUNT_NAME"]
    with pytest.raises(StageError, match="AZURE_STORAGE_ACCOUNT_NAME is missing"):
        put(tmp_path / "secret", "az://container/out", azure | PRINCIPAL)


def test_the_pods_own_identity_counts_where_no_key_is_given(
    cloud: Cloud, azure: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Azure's workload identity has it; a key of the environment is not taken beside the Secret."""
    (tmp_path / "federated").write_text("of-the-pod")
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(tmp_path / "federated"))
    monkeypatch.setenv("AZURE_TENANT_ID", "tenant")
    monkeypatch.setenv("AZURE_CLIENT_ID", "pod")
    put(tmp_path / "secret", "az://container/out", azure)
    assert set(cloud.shown) == {"Bearer given"}
    assert "client_assertion=of-the-pod" in cloud.asked[0][1]
    assert "client_id=pod" in cloud.asked[0][1]


def test_a_managed_identity(
    cloud: Cloud, azure: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_MSI_ENDPOINT", f"{cloud.url}/metadata/token")
    put(tmp_path / "secret", "az://container/out", azure | {"AZURE_CLIENT_ID": "assigned"})
    assert set(cloud.shown) == {"Bearer given"}
    assert "client_id=assigned" in cloud.asked[0][0]


def test_a_profile_that_nothing_can_read_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in os.environ if each.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_PROFILE", "team")
    monkeypatch.setitem(sys.modules, "boto3", None)  # as where it is not installed
    with pytest.raises(StageError, match=r"AWS_PROFILE=team is set, and boto3, .* is not installed") as told:
        store_for("s3://bucket-1/x").exists("s3://bucket-1/x")
    assert told.value.reason is FailureReason.INVALID_SPEC


def test_a_secret_without_keys_takes_none_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another's")
    (tmp_path / "AWS_REGION").write_text("us-east-1")
    store = store_for("s3://bucket-1/x", Access(secrets={"bucket": str(tmp_path)}), "bucket")
    with pytest.raises(StageError, match="the Secret has no AWS_ACCESS_KEY_ID"):
        store.exists("s3://bucket-1/x")
