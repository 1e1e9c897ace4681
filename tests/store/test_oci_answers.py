"""What registries answer now and then, and what becomes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from aiohttp import web

from speechless.store import store_for
from tests.store.acts import publish
from tests.store.proxy import Fault, Proxy
from tests.store.registries import uri_of


@pytest.fixture(autouse=True)
def _alone(alone_with_registries: None) -> None:
    """Nothing of this machine's own configuration, and less waiting."""


def test_a_blob_that_another_publisher_links_meanwhile_is_asked_for_again(
    host: str, name: str, work: Path
) -> None:
    """What Distribution 2.8 answers now and then, word for word: six publishers of the same blobs
    saw it 12 times in 360."""
    unseen = json.dumps({
        "errors": [
            {"code": "DIGEST_INVALID", "message": "provided digest did not match uploaded content"},
            {"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown to registry", "detail": "sha256:44136fa3"},
        ]
    })  # fmt: skip
    refused: list[str] = []

    def once(_number: int, request: web.BaseRequest) -> Fault | web.Response:
        if request.method == "PUT" and "/manifests/" in request.path and not refused:
            refused.append(request.path)
            return web.Response(status=400, text=unseen, content_type="application/json")
        return Fault.NONE

    with Proxy(f"http://{host}", once) as proxy:
        publish(work, uri_of(proxy.url.removeprefix("http://"), name))
    assert refused
    assert store_for(uri_of(host, name)).find(uri_of(host, name)) is not None
