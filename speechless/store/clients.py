"""Clients for buckets, a function a scheme: what a Secret or the environment says becomes the client's settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, cast

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.store.problems import first_line

if TYPE_CHECKING:
    from obstore.store import (
        AzureConfig,
        ClientConfig,
        GCSConfig,
        ObjectStore,
        RetryConfig,
        S3Config,
        S3Credential,
    )

Settings = Mapping[str, str]


def connect_bucket(uri: str, scheme: str, bucket: str, settings: Settings) -> ObjectStore:
    """A client for one bucket; StageError(INVALID_SPEC) for settings that the client does not take."""
    try:
        return _CLIENTS[scheme](bucket, settings)
    except StageError:
        raise
    except Exception as error:
        hint = f"check the Secret's keys, or the variables {', '.join(sorted(settings)) or '(none is set)'}"
        raise StageError(FailureReason.INVALID_SPEC, f"{uri}: {first_line(error)}", hint) from error


def _s3(bucket: str, settings: Settings) -> ObjectStore:
    from obstore.store import S3Store

    endpoint = settings.get("AWS_ENDPOINT_URL_S3") or settings.get("AWS_ENDPOINT_URL", "")
    credentials, usual = _aws_credentials(settings)
    region = settings.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or usual
    config: S3Config = {"region": region or "us-east-1"}
    hosted = settings.get("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "" if endpoint else "true").lower() in {
        "1",
        "true",
    }
    config["virtual_hosted_style_request"] = hosted
    if endpoint:
        config["endpoint"] = endpoint
    return S3Store(
        bucket,
        config=config,
        client_options=_options(settings, endpoint),
        retry_config=_retries(),
        credential_provider=credentials,
    )


def _aws_credentials(settings: Settings) -> tuple[Callable[[], S3Credential] | None, str | None]:
    """Keys that are given; else those that boto3 finds, where it is installed; else the client's own search.

    And the region that goes with them, if a profile says one.
    """
    name, key = settings.get("AWS_ACCESS_KEY_ID"), settings.get("AWS_SECRET_ACCESS_KEY")
    if bool(name) != bool(key):
        raise ValueError("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together: one of them is missing")
    if name and key:
        given: S3Credential = {
            "access_key_id": name,
            "secret_access_key": key,
            "token": settings.get("AWS_SESSION_TOKEN"),
            "expires_at": None,
        }
        return lambda: given, None
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        raise ValueError("the Secret has no AWS_ACCESS_KEY_ID: that of the environment is another's")
    profile = os.environ.get("AWS_PROFILE")
    try:
        from boto3 import Session
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        if profile:
            what = f"AWS_PROFILE={profile} is set, and boto3, which reads profiles, is not installed"
            raise ValueError(f"{what}: python -m pip install boto3") from None
        return None, None
    session = Session()
    # Profiles, single sign-on and roles are boto3's; web identities and metadata servers the client's own, too.
    if session.get_credentials():
        return Boto3CredentialProvider(session), session.region_name
    return None, session.region_name


def _gs(bucket: str, settings: Settings) -> ObjectStore:
    from obstore.store import GCSStore

    endpoint = settings.get("STORAGE_EMULATOR_HOST", "")
    if endpoint and "://" not in endpoint:
        endpoint = f"http://{endpoint}"
    # What is not said here, the client takes from variables of its own.
    config: GCSConfig = {"base_url": endpoint or "https://storage.googleapis.com"}
    if key := settings.get("GOOGLE_SERVICE_ACCOUNT_KEY"):
        # These it takes before the key, or beside it, whatever is said.
        if found := [name for name in _GOOGLE_ELSE if os.environ.get(name)]:
            raise ValueError(f"GOOGLE_SERVICE_ACCOUNT_KEY is given, and so is {found[0]}: unset one of them")
        config["service_account_key"] = key
    elif os.environ.get("GOOGLE_SERVICE_ACCOUNT_KEY"):
        raise ValueError("the Secret has no GOOGLE_SERVICE_ACCOUNT_KEY: that of the environment is another's")
    elif endpoint:
        config["bearer_token"] = "none"  # without one it asks Google's metadata server, before each write
    return GCSStore(
        bucket, config=config, client_options=_options(settings, endpoint), retry_config=_retries()
    )


_GOOGLE_ELSE = ("GOOGLE_BEARER_TOKEN", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH")


def _az(container: str, settings: Settings) -> ObjectStore:
    from obstore.store import AzureStore

    account = settings.get("AZURE_STORAGE_ACCOUNT_NAME")
    if not account:
        raise ValueError("AZURE_STORAGE_ACCOUNT_NAME is missing")
    endpoint = settings.get("AZURE_STORAGE_ENDPOINT") or f"https://{account}.blob.core.windows.net"
    given = {option: settings[name] for name, option in _AZURE.items() if settings.get(name)}
    # What is not said here, the client takes from variables of its own.
    config: dict[str, str | bool] = {
        "authority_host": "https://login.microsoftonline.com",
        "use_emulator": False,
        "use_fabric_endpoint": False,
        "skip_signature": False,
        **given,
        "endpoint": endpoint,
        "credential_type": _azure_credential(settings),
    }
    return AzureStore(
        container,
        config=cast("AzureConfig", config),
        client_options=_options(settings, endpoint),
        retry_config=_retries(),
    )


def _azure_credential(settings: Settings) -> str:
    """Which kind of credential counts: the one that is given; else the pod's own, which its environment tells."""
    if settings.get("AZURE_STORAGE_ACCOUNT_KEY"):
        return "access_key"
    if settings.get("AZURE_STORAGE_SAS_TOKEN"):
        return "sas_token"
    if settings.get("AZURE_CLIENT_SECRET"):
        together = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
        if missing := [name for name in together if not settings.get(name)]:
            raise ValueError(f"{', '.join(together)} go together: {missing[0]} is missing")
        return "client_secret"
    if os.environ.get("AZURE_FEDERATED_TOKEN_FILE"):
        return "workload_identity"
    if os.environ.get("AZURE_USE_AZURE_CLI", "").lower() in {"1", "true"}:
        return "azure_cli"
    return "managed_identity"


_AZURE = {
    "AZURE_STORAGE_ACCOUNT_NAME": "account_name",
    "AZURE_STORAGE_ACCOUNT_KEY": "account_key",
    "AZURE_STORAGE_SAS_TOKEN": "sas_key",
    "AZURE_TENANT_ID": "tenant_id",
    "AZURE_CLIENT_ID": "client_id",
    "AZURE_CLIENT_SECRET": "client_secret",
    "AZURE_AUTHORITY_HOST": "authority_host",
}
_CLIENTS: dict[str, Callable[[str, Settings], ObjectStore]] = {"s3": _s3, "gs": _gs, "az": _az}


def _options(settings: Settings, endpoint: str) -> ClientConfig:
    """A request may take a while, a silent server may not; http only where the endpoint says so."""
    options: ClientConfig = {"timeout": "180s", "read_timeout": "30s", "connect_timeout": "10s"}
    if endpoint.startswith("http://"):
        options["allow_http"] = True
    file = os.environ.get("SSL_CERT_FILE")
    if trusted := settings.get("ca.crt"):
        options["root_certificate"] = trusted
    elif file and os.path.exists(file):
        with open(file, "rb") as content:
            options["root_certificate"] = content.read()
    return options


def _retries() -> RetryConfig:
    """Some seconds of trouble are waited out by the client; what lasts longer is told."""
    seconds = timedelta(seconds=1)
    return {
        "max_retries": 6,
        "retry_timeout": 60 * seconds,
        "backoff": {"init_backoff": 0.2 * seconds, "max_backoff": 5 * seconds, "base": 2},
    }
