"""Models and datasets of a hub: `org/name@revision` on a command line, `hf://org/name@revision` as a URI.

huggingface_hub downloads, resumes, and keeps what it has in its cache; its variables count: HF_ENDPOINT (another hub),
HF_TOKEN, HF_HOME, HF_HUB_OFFLINE (the cache alone). Source: https://huggingface.co/docs/huggingface_hub/guides/download
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import shutil
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

from speechless.contract import MANIFEST_NAME, DataSource, FailureReason, Source, storage
from speechless.entry import need
from speechless.errors import StageError, words_of
from speechless.store.base import Access, LocalSource, Opened, ReadOnly
from speechless.store.choice import ALL, Choice
from speechless.store.digest import Tick, digest_tree, mismatch, no_tick

log = logging.getLogger(__name__)

_SCHEME = re.compile(r"hf:/{1,2}")  # as a path, it has one slash
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_REVISION = re.compile(r"[A-Za-z0-9][\w./-]*")
SAFE = (".safetensors", ".safetensors.index.json")
PICKLED = ("*.bin", "*.bin.index.json", "*.pth", "*.pt", "*.ckpt", "*.pkl")
"""Weights that run code when they are loaded: never downloaded."""
OTHERS = (
    "*.gguf",
    "*.h5",
    "*.msgpack",
    "*.onnx",
    "*.onnx_data",
    "*.ot",
    "*.tflite",
    "*.mlmodel",
    "original/*",
)
"""The same weights for other libraries."""


class HubName(NamedTuple):
    """A repository of a hub, and which state of it."""

    repo: str
    revision: str | None
    """A branch, a tag or a commit; None: the main branch as it is now."""

    def __str__(self) -> str:
        return self.repo + (f"@{self.revision}" if self.revision else "")


def parse(word: str) -> HubName | None:
    """The repository that a word names; None for a word that can only be a path.

    >>> parse("Qwen/Qwen2.5-Coder-0.5B"), parse("hf://org/name@v1"), parse("./models/tiny")
    (HubName(repo='Qwen/Qwen2.5-Coder-0.5B', revision=None), HubName(repo='org/name', revision='v1'), None)
    """
    repo, at, revision = _SCHEME.sub("", word, count=1).partition("@")
    if not _NAME.fullmatch(repo) or (at and not _REVISION.fullmatch(revision)):
        return None
    return HubName(repo, revision or None)


class HubPlace(NamedTuple):
    """What a URI means: a repository, and all of it or what is at a path in it."""

    name: HubName
    dataset: bool
    path: str
    """Empty: all of it."""


def place_of(uri: str) -> HubPlace:
    """What `hf://[datasets/]org/name[@revision][/path]` means; UriError if it means nothing.

    A revision with slashes is one of the hub's own, `refs/pr/<n>` or `refs/convert/<name>`, as its client has it:
    https://huggingface.co/docs/huggingface_hub/guides/hf_file_system
    """
    found = storage.check(uri)
    words = [found.host, *found.parts]
    dataset = words[0] == "datasets" and len(words) > 2
    words = words[1:] if dataset else words
    if len(words) < 2:
        raise storage.UriError(uri, "names no repository", f"write {found.scheme.example}")
    repo, at, revision = words[1].partition("@")
    rest = words[2:]
    if revision == "refs" and len(rest) > 1 and rest[0] in {"pr", "convert"}:
        revision, rest = "/".join([revision, *rest[:2]]), rest[2:]
    name = f"{words[0]}/{repo}"
    if not _NAME.fullmatch(name) or (at and not _REVISION.fullmatch(revision)):
        raise storage.UriError(uri, "names no repository", f"write {found.scheme.example}")
    return HubPlace(HubName(name, revision or None), dataset, "/".join(rest))


def download(name: HubName, *, dataset: bool = False, split: bool = False) -> Path:
    """The repository's folder in the hub cache, whole; of a model configuration, tokenizer, safetensors. Loaded once.

    StageError: `INPUT_NOT_FOUND`, `INPUT_FORBIDDEN` (gated, private, a wrong token), `MODEL_INVALID` (no safetensors),
    `STORE_FULL` (no disk), `STORE_UNAVAILABLE` (no network, throttled, an answer that is none). `split`: a part of the
    dataset will be read; `DATASET_INVALID` where a script tells its parts.
    """
    place = HubPlace(name, dataset, path="")
    return _clean(str(name), place, ALL, _Client({}, cache=None).download(place, split=split))


def go_offline() -> None:
    """From here on, no library of this process asks a hub: what was brought is all there is."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    if constants := sys.modules.get("huggingface_hub.constants"):
        constants.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]


class HubStore(ReadOnly):
    """Implements `Store` for a hub: it is read by its own client."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        """Take what a Secret or the environment says: HF_TOKEN, HF_ENDPOINT."""
        self._settings = settings

    def open(self, source: Source, into: Path, *, tick: Tick = no_tick) -> Opened:
        """Bring the repository into the hub cache; without one of this machine's own, below `into`."""
        place, choice = _place(source.uri), Choice.of(source)
        kept = os.environ.get("HF_HOME") or os.environ.get("HF_HUB_CACHE")
        client = _Client(self._settings, cache=None if kept else into / "hub")
        snapshot = client.download(place, choice, split=_splits(source))
        path = _clean(source.uri, place, choice, snapshot)
        digest, _ = digest_tree(path, tick)
        if source.digest and digest != source.digest:
            moved = f", at commit {snapshot.name}: the revision moved" if not _is_commit(place.name) else ""
            raise mismatch(f"{source.uri}: the digest is {digest}, asked for is {source.digest}{moved}")
        return Opened(path, digest, None, revision=snapshot.name)

    def resolve(self, source: Source) -> LocalSource:
        """In the cache of the hub's client, which brings it now and verifies it as it does."""
        uri, place = source.uri, _place(source.uri)
        snapshot = _Client(self._settings, cache=None).download(place, split=_splits(source))
        path = _clean(uri, place, ALL, snapshot)
        short = place.path.rpartition("/")[2] or place.name.repo.partition("/")[2]
        said = uri if place.dataset or place.path else str(place.name)
        return LocalSource(path, short, said, cached=True)

    def exists(self, uri: str) -> bool:
        """Whether the hub has the repository, at this revision, and the path in it."""
        try:
            return _Client(self._settings, cache=None).holds(_place(uri))
        except StageError as problem:
            if problem.reason is FailureReason.INPUT_NOT_FOUND:
                return False
            raise


def connect(scheme: storage.Scheme, access: Access, settings: Mapping[str, str]) -> HubStore:
    """The store of a hub."""
    return HubStore(settings)


def _place(uri: str) -> HubPlace:
    try:
        return place_of(uri)
    except storage.UriError as error:
        raise StageError(FailureReason.INVALID_SPEC, f"{uri} {error.what}", error.hint) from None


def _is_commit(name: HubName) -> bool:
    return bool(name.revision and re.fullmatch(r"[0-9a-f]{40}", name.revision))


class _Client:
    """The hub's own client, with who asks and where it keeps what it has."""

    def __init__(self, settings: Mapping[str, str], cache: Path | None) -> None:
        need("huggingface_hub")
        from huggingface_hub import constants

        self.endpoint = settings.get("HF_ENDPOINT") or constants.ENDPOINT
        self.cache = cache
        self._token = settings.get("HF_TOKEN")

    def download(self, place: HubPlace, choice: Choice = ALL, *, split: bool = False) -> Path:
        """The folder of the snapshot, with all that is chosen of the place. `split`: part of a dataset is asked for."""
        import httpx
        from huggingface_hub import constants

        name = place.name
        with _told(name, self.endpoint):
            if constants.HF_HUB_OFFLINE:
                log.info("%s: from the cache alone, because HF_HUB_OFFLINE is set", name)
                return self._snapshot(place, choice, cached=True)
            try:
                info = self._info(place)
            except httpx.TransportError as error:
                if found := self._in_cache(place, choice):
                    log.warning("%s: %s cannot be reached (%s): from the cache", name, self.endpoint, error)
                    return found
                raise
            files = {file.rfilename: file.size or 0 for file in info.siblings or ()}
            if split:
                _refuse_script(place.name, files)
            wanted = _wanted_of(place, choice, files)
            _refuse_unfit(place, choice, files, wanted)
            size = sum(files[file] for file in wanted)
            log.info("%s: commit %s, %.2f GB from %s", name, info.sha, size / 1e9, self.endpoint)
            return self._snapshot(place, choice, cached=False)

    def holds(self, place: HubPlace) -> bool:
        """Whether there is anything of the place."""
        with _told(place.name, self.endpoint):
            files = [file.rfilename for file in self._info(place).siblings or ()]
            return bool(_wanted_of(place, ALL, files))

    def _info(self, place: HubPlace) -> Any:
        from huggingface_hub import HfApi

        api = HfApi(endpoint=self.endpoint, token=self._token)
        ask = api.dataset_info if place.dataset else api.model_info
        return ask(place.name.repo, revision=place.name.revision, files_metadata=True)

    def _snapshot(self, place: HubPlace, choice: Choice, *, cached: bool) -> Path:
        """By its own name, which the cache remembers: with HF_HUB_OFFLINE the same word finds it again."""
        from huggingface_hub import snapshot_download

        below = f"{_literal(place.path)}/" if place.path else ""
        chosen = [_literal(place.path), f"{below}*"] if place.path else None
        if choice.include:
            chosen = [f"{below}{pattern}" for pattern in choice.include]
            chosen += [_literal(place.path)] if place.path else []
        return Path(
            snapshot_download(
                place.name.repo,
                repo_type="dataset" if place.dataset else "model",
                revision=place.name.revision,
                allow_patterns=chosen,
                ignore_patterns=[
                    *_ignored(place, choice),
                    *(f"{below}{pattern}" for pattern in choice.exclude),
                ],
                local_files_only=cached,
                endpoint=self.endpoint,
                token=self._token,
                cache_dir=self.cache,
            )
        )

    def _in_cache(self, place: HubPlace, choice: Choice) -> Path | None:
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            return self._snapshot(place, choice, cached=True)
        except LocalEntryNotFoundError:
            return None


def _ignored(place: HubPlace, choice: Choice) -> list[str]:
    """Of a whole model, the same weights for other libraries, unless they are asked for; never what runs code."""
    if place.dataset:
        return [*PICKLED, "*.py"]
    return [*PICKLED] if place.path or choice.include else [*PICKLED, *OTHERS]


def _below(place: HubPlace, file: str) -> str | None:
    """The name of a repository's file below the place; None: it is not there."""
    if not place.path:
        return file
    if file == place.path:
        return file.rpartition("/")[2]
    return file.removeprefix(f"{place.path}/") if file.startswith(f"{place.path}/") else None


def _wanted_of(place: HubPlace, choice: Choice, files: Iterable[str]) -> list[str]:
    ignored = _ignored(place, choice)
    return [
        file
        for file in files
        if (name := _below(place, file)) is not None
        and choice.takes(name)
        and not any(fnmatch(file, pattern) for pattern in ignored)
    ]


def _clean(uri: str, place: HubPlace, choice: Choice, snapshot: Path) -> Path:
    """What is read of a snapshot, which is one folder a commit with all that was ever asked for.

    Where it holds more, the files that are read are laid out in a folder beside it, by hard links: it costs no space.
    """
    path = snapshot / place.path if place.path else snapshot
    if not path.exists():
        what = f"{uri}: the repository holds nothing that is read at {place.path}"
        raise StageError(FailureReason.INPUT_NOT_FOUND, what, "check the path")
    if path.is_file():
        choice.chosen(uri, [path.name])
        return path
    there = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
    prefix = f"{place.path}/" if place.path else ""
    wanted = _wanted_of(place, choice, [f"{prefix}{name}" for name in there])
    names = {name.removeprefix(prefix) for name in wanted} - ({MANIFEST_NAME} if choice else set())
    if choice and not names:
        raise choice.nothing(uri, there)
    if not names or names == there.keys():
        return path
    mark = hashlib.sha256(repr((place.path, *choice)).encode()).hexdigest()[:16]
    try:
        return _laid_out(snapshot.parent.parent / "parts" / mark / "snapshots" / snapshot.name, there, names)
    except OSError as error:
        what = f"{uri}: the hub's cache has more than is read, and a part cannot be laid out there: {words_of(error)}"
        raise StageError(
            FailureReason.INPUT_FORBIDDEN, what, "let HF_HOME name a folder to write to"
        ) from error


def _laid_out(view: Path, there: Mapping[str, Path], names: Iterable[str]) -> Path:
    """A folder with these files; made anew, as the snapshot may have more of them now, and whole at once."""
    made = view.with_name(f".{view.name}-{uuid.uuid4().hex[:8]}")
    for name in names:
        real, to = there[name].resolve(), made / name
        to.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(real, to)
        except OSError:  # a file system without hard links
            shutil.copyfile(real, to)
    if view.is_dir() and _same(view, made):
        shutil.rmtree(made)
        return view
    old = view.with_name(f"{made.name}-old")
    if view.is_dir():
        view.rename(old)
    made.rename(view)
    shutil.rmtree(old, ignore_errors=True)
    return view


def _same(one: Path, other: Path) -> bool:
    """Whether two folders of one commit have the same files, by names and sizes."""
    found = []
    for folder in (one, other):
        files = ((file, file.stat()) for file in folder.rglob("*") if file.is_file())
        found.append({file.relative_to(folder): stat.st_size for file, stat in files})
    return found[0] == found[1]


def _literal(name: str) -> str:
    """A pattern for this very name."""
    return re.sub(r"([*?[])", r"[\1]", name)


def _splits(source: Source) -> bool:
    return isinstance(source, DataSource) and bool(source.config or source.split)


def _refuse_script(name: HubName, files: Iterable[str]) -> None:
    """A dataset that a script of its own reads: its files are no rows, and the script is never run."""
    script = f"{name.repo.rpartition('/')[2]}.py"
    if script in files:
        what = f"{name}: its configurations and splits are made by {script}, a program, which is never run"
        hint = "name its Parquet files (a hub has them as revision refs/convert/parquet), or leave out config and split"
        raise StageError(FailureReason.DATASET_INVALID, what, hint)


def _refuse_unfit(place: HubPlace, choice: Choice, files: Iterable[str], wanted: Sequence[str]) -> None:
    name = place.name
    if choice and not wanted:
        there = [found for file in files if (found := _below(place, file)) is not None]
        problem = choice.nothing(str(name), there)
        raise StageError(
            problem.reason, problem.message, f"{problem.hint}; pickles and scripts are never read"
        )
    if not place.dataset and not place.path and not choice.include:
        _refuse_unsafe(name, list(files))
    elif not wanted:
        what = f"{name}: the repository holds nothing that is read" + (
            f" at {place.path}" if place.path else ""
        )
        raise StageError(
            FailureReason.INPUT_NOT_FOUND, what, "check the path; pickles and scripts are never read"
        )


def _wanted(file: str) -> bool:
    return not any(fnmatch(file, pattern) for pattern in (*PICKLED, *OTHERS))


def _refuse_unsafe(name: HubName, files: Sequence[str]) -> None:
    if any(file.endswith(SAFE) for file in files):
        return
    held = next((file for file in files if not _wanted(file)), None)
    what = f"{name}: the repository holds no weights as safetensors" + (
        f", only such as {held}" if held else ""
    )
    raise StageError(
        FailureReason.MODEL_INVALID,
        what,
        "choose a repository with .safetensors, or convert the weights first",
    )


@contextmanager
def _told(name: HubName, endpoint: str) -> Iterator[None]:
    """Turn what the hub client says into a StageError that names the repository and says what to do."""
    import httpx
    from huggingface_hub import constants, errors

    try:
        yield
    except errors.GatedRepoError as error:
        hint = "accept its conditions on its page, and set HF_TOKEN to a token of that account"
        raise StageError(FailureReason.INPUT_FORBIDDEN, f"{name}: the repository is gated", hint) from error
    except errors.RevisionNotFoundError as error:
        what = f"{name}: the repository has no branch, tag or commit '{name.revision}'"
        raise StageError(FailureReason.INPUT_NOT_FOUND, what, "check the part after @") from error
    except errors.RepositoryNotFoundError as error:
        # A hub answers the same for a repository that is not there and for a private one.
        what = f"{name}: {endpoint} has no such repository, or it is private"
        hint = (
            "check the name; set HF_TOKEN for a private one. A dataset is hf://datasets/<organization>/<name>, and a "
            "folder on this machine is named by its path"
        )
        raise StageError(FailureReason.INPUT_NOT_FOUND, what, hint) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        if constants.HF_HUB_OFFLINE:
            what = f"{name}: not whole in the cache ({constants.HF_HUB_CACHE}), and HF_HUB_OFFLINE is set"
            hint = "download it once with a network, or unset HF_HUB_OFFLINE"
            raise StageError(FailureReason.INPUT_NOT_FOUND, what, hint) from error
        raise _unavailable(name, endpoint, error) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            what = f"{name}: {endpoint} refuses the token (HTTP {status})"
            raise StageError(
                FailureReason.INPUT_FORBIDDEN, what, "set HF_TOKEN to a token that may read it"
            ) from error
        if status == 429:
            what = f"{name}: {endpoint} asks to be asked less often (HTTP 429)"
            hint = "wait some minutes; HF_TOKEN raises the limit"
            raise StageError(FailureReason.STORE_UNAVAILABLE, what, hint) from error
        raise _unavailable(name, endpoint, error) from error
    except httpx.HTTPError as error:
        raise _unavailable(name, endpoint, error) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            what = f"{name}: no space left for the download in {constants.HF_HUB_CACHE}"
            hint = "free some, or name another place by HF_HOME; the same command goes on from here"
            raise StageError(FailureReason.STORE_FULL, what, hint) from error
        raise _unavailable(name, endpoint, error) from error


def _unavailable(name: HubName, endpoint: str, error: Exception) -> StageError:
    said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    hint = "check the network, HTTPS_PROXY and HF_ENDPOINT; the same command goes on from here"
    return StageError(
        FailureReason.STORE_UNAVAILABLE,
        f"{name}: no folder of this name, and {endpoint} cannot be reached: {said}",
        hint,
    )
