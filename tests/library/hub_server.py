"""A small server with the routes of a hub that its own client asks: what a repository holds, and its files.

Beside a cluster: `python -m tests.library.hub_server ADDRESS PORT ORG/NAME=FOLDER...`; every repository is gated then.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PIECE = 1 << 20
_INFO = re.compile(r"/api/(?:models|datasets)/([^/]+/[^/?]+)(?:/revision/([^/?]+))?(?:\?.*)?")
_TREE = re.compile(r"/api/(?:models|datasets)/([^/]+/[^/]+)/tree/([^/?]+).*")
_FILE = re.compile(r"/(?:datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


@dataclass
class Hub:
    """What is served, and what was asked."""

    url: str = ""
    repos: dict[str, Path] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    """Repositories that need the token `good`."""
    status: int = 0
    """Answer everything with this status."""
    cut: set[str] = field(default_factory=set)
    """Files whose next download ends in the middle."""
    asked: list[str] = field(default_factory=list)


@contextmanager
def hub(address: str = "127.0.0.1", port: int = 0) -> Iterator[Hub]:
    """Serve until the end of the block."""
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            state.asked.append(f"{self.command} {self.path}")
            if state.status:
                return self._send(state.status, b"{}", body=body)
            for pattern, answer in ((_TREE, self._tree), (_INFO, self._info), (_FILE, self._file)):
                if match := pattern.fullmatch(self.path):
                    return self._repo(match, answer, body)
            return self._send(404, b"{}", body=body, error="EntryNotFound")

        def _repo(self, match, answer, body) -> None:  # type: ignore[no-untyped-def]
            repo, revision = match[1], match[2]
            if repo not in state.repos:
                return self._send(401, b"{}", body=body, error="RepoNotFound")
            if repo in state.gated and self.headers.get("Authorization") != "Bearer good":
                return self._send(403, b"{}", body=body, error="GatedRepo")
            if revision not in (None, "main", "v1", COMMIT):
                return self._send(404, b"{}", body=body, error="RevisionNotFound")
            return answer(state.repos[repo], match, body)

        def _info(self, folder: Path, match: re.Match[str], body: bool) -> None:
            siblings = [
                {"rfilename": name, "size": path.stat().st_size} for name, path in files(folder).items()
            ]
            found = {
                "id": match[1],
                "modelId": match[1],
                "sha": COMMIT,
                "siblings": siblings,
                "private": False,
            }
            self._send(200, json.dumps(found).encode(), body=body)

        def _tree(self, folder: Path, match: re.Match[str], body: bool) -> None:
            entries = [
                {"type": "file", "path": name, "size": path.stat().st_size, "oid": oid(path)}
                for name, path in files(folder).items()
            ]
            self._send(200, json.dumps(entries).encode(), body=body)

        def _file(self, folder: Path, match: re.Match[str], body: bool) -> None:
            path = folder / unquote(match[3])
            if not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
                return self._send(404, b"{}", body=body, error="EntryNotFound")
            size = path.stat().st_size
            more = {"ETag": f'"{oid(path)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
            wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if not (body and wanted):
                cut = body and match[3] in state.cut
                state.cut.discard(match[3] if cut else "")
                return self._head(200, size, more) or self._pieces(
                    path, 0, (size // 2 if cut else size) * body, size
                )
            start, last = int(wanted[1]), min(int(wanted[2] or size), size - 1)
            if start > last:
                return self._send(416, b"", body=True, more={"Content-Range": f"bytes */{size}"})
            self._head(206, last + 1 - start, more | {"Content-Range": f"bytes {start}-{last}/{size}"})
            return self._pieces(path, start, last + 1, last + 1)

        def _head(self, status: int, length: int, more: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(length))
            self.end_headers()

        def _pieces(self, path: Path, start: int, stop: int, promised: int) -> None:
            """A file's bytes from `start` on; before `promised`, the connection ends."""
            with path.open("rb") as file:
                file.seek(start)
                for at in range(start, stop, PIECE):
                    self.wfile.write(file.read(min(PIECE, stop - at)))
            self.close_connection = self.close_connection or start < stop < promised

        def _send(
            self, status: int, data: bytes, *, body: bool, error: str = "", more: dict[str, str] | None = None
        ) -> None:
            self._head(status, len(data), (more or {}) | ({"X-Error-Code": error} if error else {}))
            if body:
                self.wfile.write(data)

    server = ThreadingHTTPServer((address, port), Handler)
    state.url = f"http://{address}:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def files(folder: Path) -> dict[str, Path]:
    """The files of a repository by name."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in found}


def oid(path: Path) -> str:
    """Git's id of a file's content; read once, until its size or its time changes."""
    stat = path.stat()
    return _oid(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=10_000)
def _oid(path: Path, size: int, _: int) -> str:
    digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


if __name__ == "__main__":
    with hub(sys.argv[1], int(sys.argv[2])) as served:
        for repo in sys.argv[3:]:
            name, _, folder = repo.partition("=")
            served.repos[name] = Path(folder)
            served.gated.add(name)
        threading.Event().wait()
