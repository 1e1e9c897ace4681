"""HTTP to what runs: the API server as the administrator, a component's health from inside its network namespace.

Asked by this process, not by kubectl or a probe started for it: `up` asks often, while the cluster needs the cores.
"""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request

from . import namespaces
from .errors import ClusterError
from .instance import Instance

SECONDS = 10


def request(
    instance: Instance, method: str, path: str, body: object = None, content_type: str = "application/json"
) -> tuple[int, bytes]:
    """The API server's answer to the administrator: HTTP status and body. ClusterError if there is none."""
    pki = instance.pki
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(
        instance.server + path, data, {"Content-Type": content_type}, method=method
    )
    # No proxy, whatever the environment names: the address is this machine's.
    direct = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    try:
        with direct.open(asked, timeout=SECONDS) as answer:
            return int(answer.status), bytes(answer.read())
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read()
    except (OSError, http.client.HTTPException) as problem:
        raise ClusterError(f"the API server at {instance.server} can't be asked: {problem}") from None


def apply(instance: Instance, path: str, wanted: dict[str, object]) -> None:
    """Server-side apply, by force: https://kubernetes.io/docs/reference/using-api/server-side-apply/."""
    options = "fieldManager=speechless-cluster&force=true&fieldValidation=Strict"
    # JSON is YAML, and this content type is all that every API server takes
    status, body = request(instance, "PATCH", f"{path}?{options}", wanted, "application/apply-patch+yaml")
    if status not in (200, 201):
        words = body.decode(errors="replace")[:2000]
        raise ClusterError(f"the API server answered {status} to an apply of {path}: {words}")


def healthy(instance: Instance, url: str) -> bool:
    """Whether a URL inside the instance's network namespace answers 200; its certificate is not looked at."""
    target = urllib.parse.urlsplit(url)
    assert target.hostname is not None
    assert target.port is not None
    connection = http.client.HTTPConnection(target.hostname, target.port, timeout=2)
    try:
        plain = namespaces.connect(instance, target.hostname, target.port, seconds=2)
        connection.sock = (
            ssl._create_unverified_context().wrap_socket(plain) if target.scheme == "https" else plain
        )
        connection.request("GET", target.path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
