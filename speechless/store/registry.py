"""One repository of a registry that speaks the OCI distribution protocol: manifests by tag, blobs by digest.

Protocol: https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md. Who asks is found as Docker does it;
tokens and credential helpers are those of `oras`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from speechless.store import transfer
from speechless.store.digest import mismatch
from speechless.store.parallel import FILES

if TYPE_CHECKING:
    import requests

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
ACCEPTED = (
    MANIFEST_TYPE,
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
LARGEST_MANIFEST = 4 << 20
"""Bytes of a manifest at most: what the specification lets a registry refuse."""
CONNECT, SILENCE = 10.0, 60.0
"""Seconds to reach a registry, and seconds in which it must say something."""
PAGE = 1000
"""Tags that are asked for at a time."""
Body = Callable[[], "bytes | IO[bytes]"]
"""What is sent, anew each time: a request may have to be made again with a token."""


class RegistryError(Exception):
    """What a registry refused, in its own words."""

    def __init__(self, status: int, codes: Sequence[str], message: str) -> None:
        """`codes`: the specification's, such as `NAME_UNKNOWN`; may be empty."""
        super().__init__(" ".join(filter(None, (f"HTTP {status}", *codes[:1], message))))
        self.status, self.codes = status, frozenset(codes)


class Tagged(NamedTuple):
    """A manifest as the registry has it."""

    content: bytes
    digest: str
    """`sha256:` and the digest of these very bytes."""

    def read(self) -> dict[str, Any]:
        """The JSON of it; DIGEST_MISMATCH if it is none."""
        try:
            found = json.loads(self.content)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise mismatch("the registry's manifest is not JSON")
        return found


class Repository:
    """A repository of a registry, asked by several threads at a time."""

    def __init__(self, host: str, name: str, settings: Mapping[str, str]) -> None:
        """`host`: with its port, if it has one. ValueError for settings that mean nothing."""
        plain = settings.get("REGISTRY_PLAIN_HTTP", "").lower() in {"1", "true"} or _is_loopback(host)
        self.host, self.name = host, name
        self._root = f"{'http' if plain else 'https'}://{_ADDRESSES.get(host, host)}/v2/"
        self._session = _session(settings.get("ca.crt"))
        self._credentials = _credentials(host, settings)
        self._authorization: dict[str, str] = {}
        self._lock = threading.Lock()

    # ------------------------------------------------------------------------------------------------------ manifests

    def manifest(self, reference: str) -> Tagged | None:
        """The manifest of a tag or a digest; None where there is none."""
        headers = {"Accept": ", ".join(ACCEPTED)}
        answer = self._ask("GET", f"manifests/{reference}", headers=headers, accepted=(200, 404), stream=True)
        with answer:
            if answer.status_code == 404:
                return None
            content = answer.raw.read(LARGEST_MANIFEST + 1, decode_content=True)
        if len(content) > LARGEST_MANIFEST:
            raise mismatch(f"the registry's manifest is larger than {LARGEST_MANIFEST >> 20} MiB")
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        said = reference if ":" in reference else answer.headers.get("Docker-Content-Digest", digest)
        if said.startswith("sha256:") and said != digest:
            raise mismatch(f"the registry's manifest digests to {digest}, not to {said}")
        return Tagged(content, digest)

    def put_manifest(self, reference: str, content: bytes) -> None:
        """Give a manifest a tag; its blobs must be there."""
        headers = {"Content-Type": MANIFEST_TYPE}
        self._ask(
            "PUT", f"manifests/{reference}", headers=headers, body=lambda: content, accepted=(200, 201, 202)
        )

    def delete_manifest(self, digest: str) -> None:
        """Remove a manifest with its tags; one that is gone is no error. Many registries do not allow it."""
        self._ask("DELETE", f"manifests/{digest}", accepted=(200, 202, 204, 404))

    def tags(self) -> Iterator[str]:
        """All tags; none where there is no such repository."""
        where = f"tags/list?n={PAGE}"
        while where:
            answer = self._ask("GET", where, accepted=(200, 404))
            if answer.status_code == 404:
                return
            yield from answer.json().get("tags") or ()
            link = answer.links.get("next", {}).get("url")
            where = urljoin(answer.url, link) if link else ""

    # ---------------------------------------------------------------------------------------------------------- blobs

    def holds(self, digest: str) -> bool:
        """Whether a blob is there."""
        return self._ask("HEAD", f"blobs/{digest}", accepted=(200, 404)).status_code == 200

    def small(self, digest: str, most: int) -> bytes:
        """A small blob, whole and verified."""
        with self._ask("GET", f"blobs/{digest}", stream=True) as answer:
            content: bytes = answer.raw.read(most + 1, decode_content=True)
        if len(content) > most:
            raise mismatch(f"{digest[:19]}... is larger than {most >> 20} MiB")
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
            raise mismatch(f"the registry gave other bytes than those of {digest[:19]}...")
        return content

    def read(self, digest: str, offset: int, length: int) -> Iterator[bytes]:
        """A range of a blob, piece by piece."""
        headers = {"Range": f"bytes={offset}-{offset + length - 1}", "Accept-Encoding": "identity"}
        with self._ask("GET", f"blobs/{digest}", headers=headers, accepted=(200, 206), stream=True) as answer:
            # 200: this registry knows no ranges, and sends the blob from its beginning.
            skip, left = (offset if answer.status_code == 200 else 0), length
            for piece in answer.iter_content(transfer.PIECE * 4):
                kept = piece[skip:][:left]
                skip, left = max(0, skip - len(piece)), left - len(kept)
                if kept:
                    yield kept
                if not left:
                    return

    def put(self, digest: str, body: Body) -> None:
        """Upload a blob; the registry compares its digest."""
        begun = self._ask("POST", "blobs/uploads/", headers={"Content-Length": "0"}, accepted=(202,))
        where = urljoin(begun.url, begun.headers.get("Location", ""))
        where += f"{'&' if '?' in where else '?'}digest={digest}"
        headers = {"Content-Type": "application/octet-stream"}
        self._ask("PUT", where, headers=headers, body=body, accepted=(201, 202, 204))

    # ------------------------------------------------------------------------------------------------------- requests

    def _ask(
        self,
        method: str,
        where: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        accepted: tuple[int, ...] = (200,),
        stream: bool = False,
    ) -> requests.Response:
        """Ask, and once more with a token if one is wanted; RegistryError for an answer that is not accepted."""
        url = where if "://" in where else f"{self._root}{self.name}/{where}"
        ours = urlsplit(url).netloc == urlsplit(self._root).netloc
        for last in (False, True):
            # An upload may go elsewhere: what is ours to show is shown to the registry alone.
            used = dict(self._authorization) if ours else {}
            sent = body() if body else None
            try:
                answer = self._session.request(
                    method,
                    url,
                    headers={**(headers or {}), **used},
                    data=sent,
                    stream=stream,
                    timeout=(CONNECT, SILENCE),
                )
            finally:
                if sent is not None and not isinstance(sent, bytes):
                    sent.close()
            if answer.status_code != 401 or last or not ours:
                break
            self._authenticate(answer, used)
            answer.close()
        if answer.status_code not in accepted:
            raise _refused(answer)
        return answer

    def _authenticate(self, answer: requests.Response, used: Mapping[str, str]) -> None:
        """Get what the registry asks for, unless another thread has it by now."""
        from oras.auth import get_auth_backend

        with self._lock:
            if self._authorization != used:
                return
            wanted = answer.headers.get("Www-Authenticate", "")
            basic = wanted.lower().startswith("basic")
            if basic and not self._credentials:
                return
            backend = get_auth_backend("basic" if basic else "token", self._session, False)
            if self._credentials:
                backend._basic_auth = self._credentials
            headers, changed = backend.authenticate_request(answer, {})
            if changed and isinstance(headers.get("Authorization"), str):
                self._authorization = {"Authorization": headers["Authorization"]}


def passes(error: Exception) -> bool:
    """Whether an error may pass: no network, a registry's trouble, too many requests, an answer that was cut."""
    import requests
    import urllib3

    if isinstance(error, RegistryError):
        # The first: blobs are put before their manifest, but Distribution does not see one while another publisher
        # links the same blob (2.8: its file is written anew, in place).
        return (
            "MANIFEST_BLOB_UNKNOWN" in error.codes
            or error.status in (408, 429)
            or (error.status >= 500 and error.status != 507)
        )
    if isinstance(error, requests.exceptions.SSLError):
        return False
    cut = (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError)
    return isinstance(error, cut) and not getattr(error, "errno", None)


def _refused(answer: requests.Response) -> RegistryError:
    try:
        told = answer.json()["errors"]
        codes, message = [str(one.get("code", "")) for one in told], str(told[0].get("message", ""))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        codes, message = [], answer.reason or ""
    answer.close()
    return RegistryError(answer.status_code, codes, message[:200])


_ADDRESSES = {"docker.io": "registry-1.docker.io", "index.docker.io": "registry-1.docker.io"}
"""Where a registry answers that is called otherwise."""
_KEYS = {"docker.io": "https://index.docker.io/v1/", "index.docker.io": "https://index.docker.io/v1/"}
"""What Docker calls it in its configuration."""


def _is_loopback(host: str) -> bool:
    """As Docker and ORAS have it, plain HTTP is spoken to this machine."""
    name = host.rpartition(":")[0] or host
    return name == "localhost" or name.startswith("127.")


def _credentials(host: str, settings: Mapping[str, str]) -> str | None:
    """What Basic authentication sends: of the settings, or, where they say nothing, of Docker's own configuration."""
    user, password = settings.get("REGISTRY_USERNAME"), settings.get("REGISTRY_PASSWORD")
    if bool(user) != bool(password):
        raise ValueError("REGISTRY_USERNAME and REGISTRY_PASSWORD go together: one of them is missing")
    if user and password:
        return base64.b64encode(f"{user}:{password}".encode()).decode()
    if config := settings.get(".dockerconfigjson"):
        return _of_docker(config, host)
    file = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker", "config.json")
    if not file.is_file():
        return None
    from oras.auth import get_auth_backend
    from oras.container import Container

    backend = get_auth_backend("token")  # "basic" would also take ORAS_USER, for whatever registry
    asked = Container(f"{host}/any")
    asked.registry = _KEYS.get(host, host)
    backend.load_configs(asked, configs=[str(file)])
    found: str | None = getattr(backend, "_basic_auth", None)
    return found


def _of_docker(config: str, host: str) -> str | None:
    """A registry's entry in a configuration of Docker that came in a Secret.

    Helpers are programs, and a Secret names no program to run: only what is written down counts.
    """
    try:
        entries = json.loads(config)["auths"]
        entry = next(
            (entries[key] for key in (host, f"https://{host}", _KEYS.get(host)) if key in entries), None
        )
        if entry is None:
            known = ", ".join(sorted(entries)) or "none"
            raise LookupError(f".dockerconfigjson has no credentials for {host}; it has some for: {known}")
        if entry.get("auth"):
            return str(entry["auth"])
        pair = f"{entry['username']}:{entry['password']}"
    except LookupError as error:
        if isinstance(error, KeyError):
            raise ValueError(f".dockerconfigjson: {error} is missing") from None
        raise ValueError(str(error)) from None
    except (ValueError, TypeError, AttributeError):
        raise ValueError(".dockerconfigjson is not what Docker writes: {'auths': {...}} as JSON") from None
    return base64.b64encode(pair.encode()).decode()


def _session(trusted: str | None) -> requests.Session:
    """Connections for several threads, with the machine's certificates and those given; ValueError if they are none."""
    import requests
    from requests.adapters import HTTPAdapter

    context = ssl.create_default_context()
    if trusted:
        try:
            context.load_verify_locations(cadata=trusted)
        except ssl.SSLError as error:
            raise ValueError(f"ca.crt holds no certificates as PEM: {error}") from None

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **more: Any) -> None:
            # urllib3 sends a file in blocks of this size; its own are 16 KiB.
            super().init_poolmanager(*args, ssl_context=context, blocksize=256 << 10, **more)

        def proxy_manager_for(self, proxy: str, **more: Any) -> Any:
            return super().proxy_manager_for(proxy, ssl_context=context, blocksize=256 << 10, **more)

    class Session(requests.Session):
        def rebuild_auth(self, prepared_request: Any, response: Any) -> None:
            """As requests does it; but what ~/.netrc says of the host of a redirect is nobody's wish here."""
            headers = prepared_request.headers
            if "Authorization" in headers and self.should_strip_auth(
                response.request.url, prepared_request.url
            ):
                del headers["Authorization"]

    session = Session()
    connections = FILES * (transfer.AHEAD + 1)
    session.mount("https://", Adapter(pool_connections=4, pool_maxsize=connections))
    session.mount("http://", Adapter(pool_connections=4, pool_maxsize=connections))
    # Some registries set cookies and then take the client for a browser.
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.auth = _leave_alone
    session.headers["User-Agent"] = "speechless"
    return session


def _leave_alone(request: Any) -> Any:
    """Keeps requests from replacing the token by what ~/.netrc has for the host."""
    return request
