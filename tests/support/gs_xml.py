"""Google Cloud Storage's XML API before a server that has the JSON API: what the client asks, said in the other words.

This is ours, and stands for Google in tests alone. What it answers is what Google's documents say; the objects, their
generations and the conditions on them are the server's behind it. It holds no state but the parts of uploads.
"""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape

from aiohttp import web

from tests.support.handler import Handler

PASSED = ("Content-Length", "Content-Range", "Content-Type", "Last-Modified", "X-Goog-Generation")
CODES = {404: "NoSuchKey", 412: "PreconditionFailed", 416: "InvalidRange"}


class Translator(Handler):
    """Answers for `<url>/<bucket>/<object>`; `target`: the server with the JSON API."""

    def __init__(self, target: str) -> None:
        """Begin without uploads."""
        self.target = target
        self._uploads: dict[str, dict[int, bytes]] = {}
        self._numbers = itertools.count(1)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:  # noqa: PLR0911 - one a kind
        path, _, _ = request.raw_path.partition("?")
        bucket, _, key = path.lstrip("/").partition("/")
        bucket, key = unquote(bucket), unquote(key)
        if not key:
            return await self._list(bucket, request.query)
        if request.method in {"GET", "HEAD"}:
            return await self._get(bucket, key, request)
        if request.method == "DELETE":
            return await self._delete(bucket, key, request.query.get("uploadId", ""))
        content = await request.content.read()
        if "uploads" in request.query:
            return await self._begin(bucket, key)
        if number := request.query.get("uploadId"):
            if number not in self._uploads:
                return _error(404, "NoSuchUpload")
            if request.method == "PUT":
                self._uploads[number][int(request.query["partNumber"])] = content
                return web.Response(headers={"ETag": _etag(_md5(content))})
            return await self._complete(bucket, key, number, content.decode(), request.headers)
        return await self._insert(bucket, key, content, request.headers, "")

    # ---------------------------------------------------------------------------------------------------------- reading

    async def _get(self, bucket: str, key: str, request: web.BaseRequest) -> web.StreamResponse:
        headers = {"Range": request.headers["Range"]} if "Range" in request.headers else {}
        where = f"{self.target}/download/storage/v1/b/{quote(bucket, '')}/o/{quote(key, '')}?alt=media"
        async with self.session.request(request.method, where, headers=headers) as answer:
            if not answer.ok:
                return await self._failed(answer.status, bucket)
            told = {name: answer.headers[name] for name in PASSED if name in answer.headers}
            passed = web.StreamResponse(
                status=answer.status, headers={**told, "ETag": _etag(answer.headers["ETag"].strip('"'))}
            )
            await passed.prepare(request)
            if request.method != "HEAD":
                async for piece in answer.content.iter_chunked(1 << 16):
                    await passed.write(piece)
            await passed.write_eof()
            return passed

    async def _list(self, bucket: str, query: Mapping[str, str]) -> web.Response:
        asked = {
            theirs: query[ours]
            for ours, theirs in (("prefix", "prefix"), ("delimiter", "delimiter"), ("max-keys", "maxResults"))
            if ours in query
        }
        if "continuation-token" in query:
            asked["pageToken"] = query["continuation-token"]
        where = f"{self.target}/storage/v1/b/{quote(bucket, '')}/o"
        async with self.session.get(where, params=asked) as answer:
            if not answer.ok:
                return await self._failed(answer.status, bucket)
            told = await answer.json()
        found = "".join(
            f"<Contents><Key>{escape(each['name'])}</Key><LastModified>{each['updated']}</LastModified>"
            f"<ETag>{escape(_etag(each['md5Hash']))}</ETag><Size>{each['size']}</Size></Contents>"
            for each in told.get("items", [])
        )
        more = told.get("nextPageToken", "")
        after = f"<NextContinuationToken>{escape(more)}</NextContinuationToken>" if more else ""
        return _xml(200, f"<ListBucketResult>{found}{after}</ListBucketResult>")

    # ---------------------------------------------------------------------------------------------------------- writing

    async def _insert(
        self, bucket: str, key: str, content: bytes, headers: Mapping[str, str], said: str
    ) -> web.Response:
        asked = {"uploadType": "media", "name": key}
        if condition := headers.get("x-goog-if-generation-match"):
            asked["ifGenerationMatch"] = condition
        where = f"{self.target}/upload/storage/v1/b/{quote(bucket, '')}/o"
        async with self.session.post(where, params=asked, data=io.BytesIO(content)) as answer:
            if not answer.ok:
                return await self._failed(answer.status, bucket)
            told = await answer.json()
        etag = _etag(told["md5Hash"])
        return _xml(200, said.format(escape(etag)), {"ETag": etag, "X-Goog-Generation": told["generation"]})

    async def _begin(self, bucket: str, key: str) -> web.Response:
        async with self.session.get(f"{self.target}/storage/v1/b/{quote(bucket, '')}") as answer:
            if not answer.ok:
                return await self._failed(answer.status, bucket)
        number = f"upload-{next(self._numbers)}"
        self._uploads[number] = {}
        told = f"<Bucket>{bucket}</Bucket><Key>{escape(key)}</Key><UploadId>{number}</UploadId>"
        return _xml(200, f"<InitiateMultipartUploadResult>{told}</InitiateMultipartUploadResult>")

    async def _complete(
        self, bucket: str, key: str, upload: str, named: str, headers: Mapping[str, str]
    ) -> web.Response:
        parts = self._uploads[upload]
        numbers = [int(number) for number in re.findall(r"<PartNumber>(\d+)</PartNumber>", named)]
        etags = re.findall(r"<ETag>(.*?)</ETag>", named.replace("&quot;", '"'))
        if not numbers or [_etag(_md5(parts.get(number, b""))) for number in numbers] != etags:
            return _error(400, "InvalidPart")
        said = "<CompleteMultipartUploadResult><ETag>{}</ETag></CompleteMultipartUploadResult>"
        content = b"".join(parts[number] for number in numbers)
        answer = await self._insert(bucket, key, content, headers, said)
        if answer.status == 200:
            self._uploads.pop(upload, None)
        return answer

    async def _delete(self, bucket: str, key: str, upload: str) -> web.Response:
        if upload:
            self._uploads.pop(upload, None)
            return web.Response(status=204)
        where = f"{self.target}/storage/v1/b/{quote(bucket, '')}/o/{quote(key, '')}"
        async with self.session.delete(where) as answer:
            return web.Response(status=204) if answer.ok else await self._failed(answer.status, bucket)

    # ---------------------------------------------------------------------------------------------------------- answers

    async def _failed(self, status: int, bucket: str) -> web.Response:
        code = CODES.get(status, "InternalError")
        if status == 404:
            async with self.session.get(f"{self.target}/storage/v1/b/{quote(bucket, '')}") as answer:
                code = code if answer.ok else "NoSuchBucket"
        return _error(status, code)


def _md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def _etag(md5: str) -> str:
    return f'"{base64.b64decode(md5).hex()}"'


def _xml(status: int, text: str, headers: Mapping[str, Any] | None = None) -> web.Response:
    return web.Response(status=status, text=text, content_type="application/xml", headers=headers)


def _error(status: int, code: str) -> web.Response:
    return _xml(status, f"<Error><Code>{code}</Code></Error>")
