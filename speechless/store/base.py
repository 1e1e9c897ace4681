"""The interface of a store, and what it gives and takes. What is here knows no scheme."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, NotRequired, Protocol, TypedDict

from pydantic import JsonValue

from speechless.contract import (
    Artifact,
    FailureReason,
    Format,
    InputRecord,
    Manifest,
    Metric,
    ModelInfo,
    Source,
    storage,
)
from speechless.errors import StageError
from speechless.store.digest import Tick, no_tick


class ManifestFields(TypedDict):
    """What a publisher says of an artifact; its files and digest are made from the bytes that are written."""

    format: Format
    model: NotRequired[ModelInfo | None]
    inputs: NotRequired[tuple[InputRecord, ...]]
    parameters: NotRequired[dict[str, JsonValue]]
    versions: NotRequired[dict[str, str]]
    metrics: NotRequired[tuple[Metric, ...]]
    seed: NotRequired[int | None]
    created_by: NotRequired[str]
    created_at: NotRequired[str]


@dataclass(frozen=True)
class Opened:
    """A source that was read whole and digested; its bytes are at `path`, not to be written."""

    path: Path
    """A folder or a file on this machine."""
    digest: str
    manifest: Manifest | None
    """None: a plain source, digested as it was read."""
    revision: str | None = None
    """What the place calls this state of it, such as a commit; None where it has no names for states."""


class LocalSource(NamedTuple):
    """A source that a command reads where it is: at a path of this machine, or in a cache."""

    path: Path
    name: str
    """Its short name, for folders and served models: that of a cache's folder says nothing."""
    said: str
    """What others find it by: the path, the URI, or the name that a hub knows it by."""
    cached: bool
    """Whether it lies in a cache: nothing is written beside it."""


class RemoteSource(NamedTuple):
    """What a place says of a source before its bytes are brought."""

    state: str
    """Another one as soon as the bytes may be others, such as a digest or the versions of all objects."""
    size: int
    """Bytes."""
    digest: str | None = None
    """Of its content, where the place says so: what `open` gives must have it."""
    file: str = ""
    """The name of the file that it is; empty: it is a folder."""


@dataclass(frozen=True)
class Published:
    """An artifact at its final place, re-read and verified."""

    artifact: Artifact
    manifest: Manifest
    reused: bool
    """Whether it was there already."""

    @classmethod
    def of(cls, uri: str, manifest: Manifest, *, reused: bool) -> Published:
        """The artifact that a manifest describes, at its place."""
        artifact = Artifact(
            uri=uri,
            digest=manifest.digest,
            size_bytes=manifest.size_bytes,
            format=manifest.format,
            model=manifest.model.summary() if manifest.model else None,
        )
        return cls(artifact, manifest, reused)


@dataclass(frozen=True)
class Access:
    """How this machine reaches what URIs mean."""

    mounts: Mapping[str, str] = field(default_factory=dict)
    """Claim to the folder where it is mounted."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Secret to the folder where it is mounted, a file a key."""


class Checkpoint(NamedTuple):
    """A folder `checkpoint-<step>` on this machine."""

    step: int
    path: Path


class Checkpoints(Protocol):
    """The checkpoints of a run, kept until its output is published. A `fingerprint` tells runs apart."""

    folder: Path
    """Where the run writes `checkpoint-<step>`, on this machine."""

    def newest(self, fingerprint: str) -> Checkpoint | None:
        """The highest whole checkpoint of this run, on this machine; why others are passed over is logged."""

    def take(self, step: int, fingerprint: str) -> Checkpoint | None:
        """One whole checkpoint of this run, on this machine; None: it is not there."""

    def save(self, step: int, fingerprint: str) -> None:
        """Declare `folder/checkpoint-<step>` whole, and keep it where another machine finds it."""

    def prune(self, keep: int, fingerprint: str, spared: Collection[int] = ()) -> None:
        """Remove all but the newest `keep` whole checkpoints of this run, and those of the steps `spared`.

        Called after a `save`.
        """

    def clear(self) -> None:
        """Remove all of them: the output is published. What cannot be removed is logged."""


class Store(Protocol):
    """One kind of place for artifacts. Errors are `StageError`s; a tick is called with the bytes read or written."""

    def open(self, source: Source, into: Path, *, tick: Tick = no_tick) -> Opened:
        """Make a source readable on this machine and verify it: against its manifest and the digest asked for.

        What has to be brought here goes into the folder `into`; a store whose bytes are here already leaves it alone.
        """

    def resolve(self, source: Source) -> LocalSource | RemoteSource:
        """Where a person's machine has the whole of it, with nothing verified; or what `cache.py` needs to bring it.

        The place's own client may bring it now, into the cache that it shares with other programs.
        """

    def exists(self, uri: str) -> bool:
        """Whether anything is at `uri` yet; it is not looked into."""

    def find(self, uri: str, *, tick: Tick = no_tick) -> Published | None:
        """The whole artifact at `uri`, read and verified; None where there is none yet."""

    def prepare(self, uri: str) -> None:
        """Fail now, before the work, if `uri` cannot be written: something is written there once."""

    def publish(self, work: Path, uri: str, fields: ManifestFields, *, tick: Tick = no_tick) -> Published:
        """Put the files of `work` (a folder, or one file) at `uri` as one artifact, or find it there whole."""

    def checkpoints(self, uri: str, scratch: Path) -> Checkpoints:
        """Those of the run whose output is `uri`; a store elsewhere has the run write them into `scratch`."""


class ReadOnly:
    """The part of `Store` that writes, for a place that nothing is written to."""

    def find(self, uri: str, *, tick: Tick = no_tick) -> Published | None:
        """Nothing is ever published there."""
        raise self._refuse(uri)

    def prepare(self, uri: str) -> None:
        """It cannot be written."""
        raise self._refuse(uri)

    def publish(self, work: Path, uri: str, fields: ManifestFields, *, tick: Tick = no_tick) -> Published:
        """It cannot be written."""
        raise self._refuse(uri)

    def checkpoints(self, uri: str, scratch: Path) -> Checkpoints:
        """It cannot be written."""
        raise self._refuse(uri)

    @staticmethod
    def _refuse(uri: str) -> StageError:
        hint = f"choose {storage.plain_examples(writable=True)}"
        return StageError(FailureReason.INVALID_SPEC, f"{uri}: artifacts cannot be published there", hint)
