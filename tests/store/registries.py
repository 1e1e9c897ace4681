"""A registry as the tests of it use it: where something is published, and what is pushed by hand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import requests

from tests.store.acts import WRITE, Way
from tests.store.proxy import Fault


def uri_of(host: str, name: str, tag: str = "1a2b") -> str:
    return f"oci://{host}/{name}:{tag}"


@dataclass(frozen=True)
class InRegistry:
    """Repositories of a registry as a place: one a name, as blobs that are there are not sent again."""

    host: str
    repository: str

    @property
    def root(self) -> str:
        return f"http://{self.host}"

    @property
    def writes(self) -> Sequence[Fault]:
        return WRITE

    def way(self, name: str, proxy: str = "") -> Way:
        host = proxy.removeprefix("http://") or self.host
        return Way(uri_of(host, f"{self.repository}-{name}"), {})


def manifest(uri: str, reference: str = "") -> Any:
    """The registry's manifest, by another client than ours."""
    host, _, rest = uri.removeprefix("oci://").partition("/")
    repository, _, tag = rest.partition(":")
    headers = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    return requests.get(
        f"http://{host}/v2/{repository}/manifests/{reference or tag}", headers=headers, timeout=10
    ).json()


def push(uri: str, told: dict[str, Any], *blobs: bytes) -> None:
    """Push blobs and a manifest of the test's own."""
    host, _, rest = uri.removeprefix("oci://").partition("/")
    repository, _, tag = rest.partition(":")
    root = f"http://{host}/v2/{repository}"
    for blob in blobs:
        begun = requests.post(f"{root}/blobs/uploads/", timeout=10).headers["Location"]
        digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
        assert requests.put(f"{begun}&digest={digest}", data=blob, timeout=10).status_code == 201
    media = told.get("mediaType", "application/vnd.oci.image.manifest.v1+json")
    done = requests.put(
        f"{root}/manifests/{tag}", data=json.dumps(told), headers={"Content-Type": media}, timeout=10
    )
    assert done.status_code == 201, done.text


def layer(content: bytes, media: str = "application/octet-stream", **notes: str) -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return {"mediaType": media, "digest": digest, "size": len(content), "annotations": notes}


def manifest_with(
    *layers: dict[str, Any], config: str = "application/vnd.oci.empty.v1+json"
) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": layer(b"{}", config),
        "layers": list(layers),
    }


TITLE = "org.opencontainers.image.title"
