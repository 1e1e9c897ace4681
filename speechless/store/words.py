"""A word that a person writes for a place, to that place on this machine: the one door for models and data.

A word is a path, a URI of the table (`contract/storage.py`), or a hub's `org/name[@revision]`. What a URI means is
brought here first: by the cache of this machine, or by its own client's.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import NamedTuple

from speechless.contract import DataSource, FailureReason, Source, storage
from speechless.environment import Root
from speechless.errors import StageError
from speechless.store import hub
from speechless.store.base import LocalSource, RemoteSource, Store
from speechless.store.cache import machine_cache
from speechless.store.digest import Tick
from speechless.store.formats import is_rows
from speechless.store.settings import server_of
from speechless.store.stores import store_for

log = logging.getLogger(__name__)


class DataPart(NamedTuple):
    """What of a dataset is read; both None: what there is."""

    config: str | None = None
    split: str | None = None

    def __bool__(self) -> bool:
        return self != WHOLE


WHOLE = DataPart()


class Here(NamedTuple):
    """Where what a word means is on this machine."""

    path: Path
    name: str
    """Its short name, for folders and served models; a cache's folder is called by a digest or a commit."""
    said: str
    """What others can find it by: the hub's name, the URI, or the path."""
    cached: bool

    def beside(self, suffix: str) -> Path:
        """Where what is made of it goes: beside its folder, or into the current one if it is in a cache."""
        name = f"{self.name.removesuffix('.gguf')}{suffix}"
        return Path(name) if self.cached else _real(self.path).with_name(name)


def taken(root: Root, *, dataset: bool = False) -> str:
    """What a word may be, for a command's help."""
    hubs = "a hub's dataset" if dataset else "a hub's"
    uris = storage.plain_examples(mounted=False)
    return f"looked for in ${root.variable}, too; or {hubs} org/name[@revision]; or {uris}"


def locate(
    word: str | Path,
    root: Root,
    *,
    dataset: bool = False,
    part: DataPart = WHOLE,
    needed: bool = True,
    tick: Tick | None = None,
) -> Here:
    """Find what a word means, and bring it here if it is elsewhere; a path that is not there is returned as it is.

    What is here wins: a folder `org/name` is never taken for a repository. `root` is where a relative path is looked
    for, too. `part`: what of a dataset will be read; all of it is brought. Not `needed`: nothing is brought, and the
    path may not be there. `tick` is called with the bytes that come, and may raise; None: they are shown. StageError as
    `hub.download`, and as the URI's store and the cache.
    """
    word = str(word)
    if "://" in word:
        return _of_uri(word, part, needed, tick)
    path = local(word, root)
    name = None if path.exists() or (dataset and is_rows(word)) else hub.parse(word)
    if name is None:
        return Here(path, _real(path).name, str(path), cached=False)
    short = name.repo.partition("/")[2]
    path = hub.download(name, dataset=dataset, split=bool(part)) if needed else Path(short)
    return Here(path, short, str(name), cached=True)


def local(word: str, root: Root) -> Path:
    """The path that a word is, which need not be there.

    StageError(INVALID_SPEC) for an empty one, which would be the current folder, and for a pipe, a device or a socket.
    """
    if not word.strip():
        what = "an empty word, where a path or a name is wanted"
        raise StageError(FailureReason.INVALID_SPEC, what, "write . for the current folder")
    path = root.find(Path(word))
    if path.exists() and not (path.is_file() or path.is_dir()):
        what = f"{path}: neither a file nor a folder: it is read more than once"
        raise StageError(FailureReason.INVALID_SPEC, what, "write what it gives into a file")
    return path


def _real(path: Path) -> Path:
    """Without links; `Path.resolve` fails at links that lead to themselves."""
    return Path(os.path.realpath(path))


def uri_of(word: str, *, dataset: bool = False) -> str:
    """The URI that a word means: itself, that of a path which is there, or a hub's; a path in any other case."""
    if "://" in word:
        return word
    path = Path(word)
    name = None if path.exists() or (dataset and is_rows(word)) else hub.parse(word)
    if name is None:
        return path.absolute().as_uri()
    uri = f"hf://{'datasets/' if dataset else ''}{name}"
    if hub.place_of(uri).path:
        what = f"{word}: in a URI, what follows the revision's first slash is a path"
        raise StageError(FailureReason.INVALID_SPEC, what, "name the revision by its commit")
    return uri


def _of_uri(uri: str, part: DataPart, needed: bool, tick: Tick | None) -> Here:
    store = store_for(uri)  # checks the URI
    name, server = storage.check(uri).name, server_of(storage.check(uri).scheme)
    if not needed:
        return Here(Path(name), name, uri, cached=True)
    source = DataSource(uri=uri, config=part.config, split=part.split)
    found = _resolved(source, store, server)
    if isinstance(found, RemoteSource):
        path = machine_cache(server).bring(uri, found, store, tick)
        return Here(path, name, uri, cached=True)
    return Here(found.path, found.name or name, found.said, found.cached)


def _resolved(source: Source, store: Store, server: str) -> LocalSource | RemoteSource:
    """What the store says; where it does not answer, what the cache had of it last."""
    uri = source.uri
    try:
        return store.resolve(source)
    except StageError as problem:
        if problem.reason is not FailureReason.STORE_UNAVAILABLE:
            raise
        last = machine_cache(server).last(uri)
        if last is None:
            raise
        log.warning("%s; from the cache, as it was when it was read last", problem.message)
        return LocalSource(last, storage.check(uri).name, uri, cached=True)
