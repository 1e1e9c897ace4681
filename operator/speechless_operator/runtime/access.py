"""How to reach the API server: read by the official client, so that every login method works."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass

from kubernetes import client, config

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


class AccessError(Exception):
    """There is no way to the API server; the message says what was tried."""


@dataclass(frozen=True)
class Access:
    """One way into one API server."""

    configuration: client.Configuration

    @property
    def server(self) -> str:
        """The API server's URL without a trailing slash."""
        return str(self.configuration.host).rstrip("/")

    def authorization(self) -> str | None:
        """The value of the header Authorization, refreshed where the login method can: tokens of pods expire."""
        token = self.configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        return str(token) if token else None

    def ssl_context(self) -> ssl.SSLContext | None:
        """TLS settings; None for plain HTTP."""
        if not self.server.startswith("https://"):
            return None
        verify = bool(self.configuration.verify_ssl)
        context = ssl.create_default_context(cafile=self.configuration.ssl_ca_cert if verify else None)
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.configuration.cert_file:
            context.load_cert_chain(self.configuration.cert_file, self.configuration.key_file)
        return context


def load() -> Access:
    """The access of this process: KUBECONFIG (or ~/.kube/config), else the pod's service account.

    Raises:
        AccessError: Neither is there.
    """
    configuration = client.Configuration()
    try:
        if os.path.exists(SERVICE_ACCOUNT) and "KUBECONFIG" not in os.environ:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            # The path is given: the client reads KUBECONFIG once, when it is imported.
            config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=os.environ.get("KUBECONFIG"), client_configuration=configuration
            )
    except config.ConfigException as error:
        raise AccessError(
            f"no way to the API server: {error}; set KUBECONFIG, or run in a pod with a service account"
        ) from error
    return Access(configuration)


def own_namespace() -> str:
    """The namespace that this pod runs in; `default` outside a cluster."""
    try:
        with open(f"{SERVICE_ACCOUNT}/namespace") as file:
            return file.read().strip()
    except FileNotFoundError:
        return os.environ.get("POD_NAMESPACE", "default")
