"""How to reach an API server: read from a kubeconfig by the official client, so every login method works.

That client takes a second to import, so it is imported where it is used: unit tests do without.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import urllib3
    from kubernetes import client


@dataclass(frozen=True)
class Access:
    """One way into one API server: address, TLS material, and the headers that say who asks."""

    configuration: client.Configuration
    extra_headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_kubeconfig(cls, path: Path | str, *, direct: bool = False) -> Access:
        """Read the current context of `path`; `direct` ignores the machine's HTTP proxy variables."""
        from kubernetes import client, config

        configuration = client.Configuration()
        # The path is given, not left to KUBECONFIG: the client reads that variable once, at import.
        config.load_kube_config(config_file=str(path), client_configuration=configuration)  # type: ignore[no-untyped-call]
        if direct:
            configuration.proxy = None
        return cls(configuration)

    @property
    def server(self) -> str:
        """The API server's URL without a trailing slash."""
        return str(self.configuration.host).rstrip("/")

    @property
    def tls(self) -> bool:
        """Whether the server is reached over TLS."""
        return urlsplit(self.server).scheme == "https"

    def headers(self) -> dict[str, str]:
        """Headers of every request: the bearer token, refreshed where the login method can, and extras."""
        token = self.configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        return ({"Authorization": token} if token else {}) | self.extra_headers

    def pool(self) -> urllib3.PoolManager:
        """A connection pool with this access' certificates."""
        from kubernetes.client.rest import RESTClientObject

        return RESTClientObject(self.configuration).pool_manager

    def ssl_context(self, *, client_certificate: bool = True) -> ssl.SSLContext:
        """The TLS settings for a client that is not urllib3."""
        verify = bool(self.configuration.verify_ssl)
        context = ssl.create_default_context(cafile=self.configuration.ssl_ca_cert if verify else None)
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if client_certificate and self.configuration.cert_file:
            context.load_cert_chain(self.configuration.cert_file, self.configuration.key_file)
        return context

    def with_token(self, token: str) -> Access:
        """The same server for the bearer of `token`, without this access' client certificate."""
        from kubernetes import client

        other = client.Configuration()
        for name in ("host", "ssl_ca_cert", "verify_ssl", "tls_server_name", "proxy", "no_proxy"):
            setattr(other, name, getattr(self.configuration, name))
        other.api_key = {"BearerToken": token}
        other.api_key_prefix = {"BearerToken": "Bearer"}
        return Access(other)

    def impersonating(self, user: str, group: str | None = None) -> Access:
        """The same access acting as `user` of `group`: authorization and admission see that user, not us."""
        headers = {"Impersonate-User": user} | ({"Impersonate-Group": group} if group else {})
        return Access(self.configuration, self.extra_headers | headers)
