"""A run's checkpoints in a registry, so that any machine takes them up: a tag each."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from speechless.errors import StageError
from speechless.store import transfer
from speechless.store.base import Checkpoint
from speechless.store.blobs import call, download_of, put_bytes, put_files
from speechless.store.checkpoints import MARKER, FolderCheckpoints, marker_problem
from speechless.store.digest import no_tick
from speechless.store.manifest import LARGEST
from speechless.store.modelpack import Layer, checkpoint_of, layers_of
from speechless.store.registry import RegistryError, Repository

log = logging.getLogger(__name__)


class OciCheckpoints:
    """Implements `Checkpoints`: written in a folder here, kept in the registry, the tag last."""

    def __init__(
        self,
        asking: Callable[..., AbstractContextManager[None]],
        uri: str,
        repository: Repository,
        tag: str,
        scratch: Path,
    ) -> None:
        """Take the store's `asking`, where they are kept, and the folder that the run writes into."""
        self.folder = scratch
        self._ask, self._uri, self._repository, self._tag = asking, uri, repository, tag
        self._local = FolderCheckpoints(scratch)

    def newest(self, fingerprint: str) -> Checkpoint | None:
        """The newest whole one of the registry, brought here unless it is here."""
        local = self._local.newest(fingerprint)
        with self._ask(self._uri):
            for step in sorted(self._kept(), reverse=True):
                if local and local.step >= step:
                    return local
                problem, marker, layers = self._look(step, fingerprint)
                if problem:
                    log.warning("%s of %s is not taken up: %s", self._name(step), self._uri, problem)
                    continue
                return self._bring(step, marker, layers)
        return local

    def take(self, step: int, fingerprint: str) -> Checkpoint | None:
        """From here, or brought from the registry."""
        if local := self._local.take(step, fingerprint):
            return local
        with self._ask(self._uri):
            problem, marker, layers = self._look(step, fingerprint)
            return None if problem else self._bring(step, marker, layers)

    def save(self, step: int, fingerprint: str) -> None:
        """Seal it here, then put its files, and the tag after them."""
        self._local.save(step, fingerprint)
        folder = self.folder / f"checkpoint-{step}"
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != MARKER]
        marker = (folder / MARKER).read_bytes()
        with self._ask(self._uri, writing=True):
            files = [(path.relative_to(folder).as_posix(), path) for path in paths]
            entries = put_files(self._repository, files, no_tick)
            put_bytes(self._repository, marker)
            content = checkpoint_of(entries, marker)
            call(lambda: self._repository.put_manifest(self._name(step), content))

    def prune(self, keep: int, fingerprint: str, spared: Collection[int] = ()) -> None:
        """Here and in the registry; where the registry removes nothing, the log says so."""
        self._local.prune(keep, fingerprint, spared)
        whole = 0
        with self._ask(self._uri, writing=True):
            for step in sorted(self._kept(), reverse=True):
                if whole < keep and self._look(step, fingerprint)[0] is None:
                    whole += 1
                elif step not in spared and not self._remove(step):
                    return

    def clear(self) -> None:
        """Remove all of them; a registry that does not allow it is told in the log."""
        self._local.clear()
        try:
            with self._ask(self._uri, writing=True):
                for step in self._kept():
                    if not self._remove(step):
                        return
        except StageError as problem:
            log.warning("cannot remove the checkpoints: %s", problem.message)

    def _name(self, step: int) -> str:
        return f"{self._tag}.checkpoint-{step}"

    def _kept(self) -> list[int]:
        pattern = re.compile(re.escape(self._tag) + r"\.checkpoint-(\d+)")
        found = (pattern.fullmatch(tag) for tag in call(lambda: list(self._repository.tags())))
        return [int(match[1]) for match in found if match]

    def _look(self, step: int, fingerprint: str) -> tuple[str | None, bytes, dict[str, Layer]]:
        """Why one cannot be taken up (None: it can), its marker, and its files."""
        tagged = call(lambda: self._repository.manifest(self._name(step)))
        if tagged is None:
            return "it is gone", b"", {}
        told = tagged.read()
        try:
            layers, config = layers_of(told), str(told["config"]["digest"])
        except (StageError, KeyError, TypeError):
            return "its manifest is not a checkpoint's", b"", {}
        marker = call(lambda: self._repository.small(config, LARGEST))
        sizes = {layer.name: layer.size for layer in layers.values()}
        return marker_problem(marker, fingerprint, sizes)[0], marker, layers

    def _bring(self, step: int, marker: bytes, layers: Mapping[str, Layer]) -> Checkpoint:
        log.info("bringing %s from %s", self._name(step), self._uri)
        folder = self.folder / f"checkpoint-{step}"
        transfer.download([download_of(self._repository, one, folder) for one in layers.values()])
        (folder / MARKER).write_bytes(marker)
        return Checkpoint(step, folder)

    def _remove(self, step: int) -> bool:
        """False if this registry removes nothing."""
        tagged = call(lambda: self._repository.manifest(self._name(step)))
        try:
            if tagged:
                call(lambda: self._repository.delete_manifest(tagged.digest))
        except RegistryError as error:
            if error.status not in (403, 405) and "UNSUPPORTED" not in error.codes:
                raise
            log.warning(
                "%s: the registry removes no checkpoints (%s): remove their tags by its own means",
                self._uri,
                error,
            )
            return False
        return True
