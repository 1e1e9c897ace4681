"""A run's checkpoints in a bucket, so that any machine takes them up."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from speechless.contract import FileEntry
from speechless.errors import StageError
from speechless.store import transfer
from speechless.store.base import Checkpoint
from speechless.store.checkpoints import MARKER, FolderCheckpoints, marker_problem
from speechless.store.digest import no_tick
from speechless.store.manifest import LARGEST
from speechless.store.objects import (
    Place,
    Stored,
    below,
    call,
    delete,
    download_of,
    inside,
    put_bytes,
    put_file,
    read_small,
)
from speechless.store.parallel import side_by_side

log = logging.getLogger(__name__)

DIGESTS = "sha256"
"""Key of the marker in the bucket: the SHA-256 of each file by name."""


class BucketCheckpoints:
    """Implements `Checkpoints`: written in a folder here, kept in the bucket, the marker last."""

    def __init__(
        self, asking: Callable[..., AbstractContextManager[None]], place: Place, scratch: Path
    ) -> None:
        """Take the store's `asking`, where they are kept, and the folder that the run writes into."""
        self.folder = scratch
        self._ask, self._place, self._local = asking, place, FolderCheckpoints(scratch)

    def newest(self, fingerprint: str) -> Checkpoint | None:
        """The newest whole one of the bucket, brought here unless it is here."""
        local = self._local.newest(fingerprint)
        with self._asking():
            for step, objects in sorted(self._kept().items(), reverse=True):
                if local and local.step >= step:
                    return local
                problem, sizes = self._problem(step, objects, fingerprint)
                if problem:
                    log.warning("checkpoint-%d of %s is not taken up: %s", step, self._place.uri, problem)
                    continue
                log.info("bringing checkpoint-%d from %s", step, self._place.uri)
                return self._bring(step, {name: objects[name] for name in (*sizes, MARKER)})
        return local

    def take(self, step: int, fingerprint: str) -> Checkpoint | None:
        """From here, or brought from the bucket."""
        if local := self._local.take(step, fingerprint):
            return local
        with self._asking():
            objects = self._kept().get(step, {})
            problem, sizes = self._problem(step, objects, fingerprint)
            return None if problem else self._bring(step, {name: objects[name] for name in (*sizes, MARKER)})

    def save(self, step: int, fingerprint: str) -> None:
        """Seal it here, then upload its files, the marker after them."""
        self._local.save(step, fingerprint)
        folder = self.folder / f"checkpoint-{step}"
        names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
        with self._asking(writing=True):
            put = side_by_side(
                [name for name in names if name != MARKER],
                lambda name, watch: put_file(self._place, self._key(step, name), folder / name, name, watch),
                no_tick,
            )
            # With what was sent, so that a machine that brings it knows every byte.
            told = json.loads((folder / MARKER).read_bytes()) | {
                DIGESTS: {one.path: one.sha256 for one, _ in put}
            }
            content = json.dumps(told, indent=1).encode() + b"\n"
            call(lambda: put_bytes(self._place, self._key(step, MARKER), content))

    def prune(self, keep: int, fingerprint: str, spared: Collection[int] = ()) -> None:
        """Here and in the bucket; a marker is removed before its files."""
        self._local.prune(keep, fingerprint, spared)
        whole = 0
        with self._asking(writing=True):
            for step, objects in sorted(self._kept().items(), reverse=True):
                if whole < keep and self._problem(step, objects, fingerprint)[0] is None:
                    whole += 1
                elif step not in spared:
                    self._remove(objects)

    def clear(self) -> None:
        """Remove all of them; a bucket that does not allow it is told in the log."""
        self._local.clear()
        try:
            with self._asking(writing=True):
                for objects in self._kept().values():
                    self._remove(objects)
        except StageError as problem:
            log.warning("cannot remove the checkpoints: %s", problem.message)

    def _key(self, step: int, name: str) -> str:
        return self._place.below(f"checkpoint-{step}/{name}")

    def _kept(self) -> dict[int, dict[str, Stored]]:
        """The objects of each step, whole or not, by their names in it."""
        found: dict[int, dict[str, Stored]] = {}
        for name, stored in below(self._place).items():
            folder, _, rest = name.partition("/")
            if (match := re.fullmatch(r"checkpoint-(\d+)", folder)) and rest:
                found.setdefault(int(match[1]), {})[rest] = stored
        return found

    def _problem(
        self, step: int, objects: Mapping[str, Stored], fingerprint: str
    ) -> tuple[str | None, dict[str, int]]:
        text = read_small(self._place, self._key(step, MARKER), LARGEST) if MARKER in objects else None
        sizes = {name: found.size for name, found in objects.items()}
        return marker_problem(text, fingerprint, sizes)

    def _bring(self, step: int, objects: Mapping[str, Stored]) -> Checkpoint:
        folder = self.folder / f"checkpoint-{step}"
        text = read_small(self._place, objects[MARKER].key, LARGEST) or b"{}"
        told = json.loads(text)
        digests = told.pop(DIGESTS, {})  # an earlier version wrote none
        files = []
        for name, found in objects.items():
            if name == MARKER:
                continue
            known = FileEntry(path=name, size=found.size, sha256=digests[name]) if name in digests else None
            files.append(download_of(self._place, found, inside(self._place.uri, folder, name), known))
        transfer.download(files)
        (folder / MARKER).write_text(json.dumps(told, indent=1) + "\n")
        return Checkpoint(step, folder)

    def _remove(self, objects: Mapping[str, Stored]) -> None:
        first = [objects[MARKER].key] if MARKER in objects else []
        call(lambda: delete(self._place, first))
        call(lambda: delete(self._place, [found.key for name, found in objects.items() if name != MARKER]))

    def _asking(self, *, writing: bool = False) -> AbstractContextManager[None]:
        return self._ask(self._place.uri, writing=writing)
