"""The interface of a store, and which store serves a URI."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, Protocol, TypedDict

from pydantic import JsonValue

from speechless.contract import Artifact, Format, InputRecord, Manifest, Metric, Source
from speechless.store.digest import Tick, no_tick


class ManifestFields(TypedDict):
    """What a publisher says of an artifact; its files and digest are made from the bytes that are written."""

    format: Format
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


@dataclass(frozen=True)
class Published:
    """An artifact at its final place, re-read and verified."""

    artifact: Artifact
    manifest: Manifest
    reused: bool
    """Whether it was there already."""


class Store(Protocol):
    """One kind of place for artifacts. Errors are `StageError`s; a tick is called with the bytes read or written."""

    def open(self, source: Source, *, tick: Tick = no_tick) -> Opened:
        """Make a source readable on this machine and verify it: against its manifest and the digest asked for."""

    def exists(self, uri: str) -> bool:
        """Whether anything is at `uri` yet; it is not looked into."""

    def find(self, uri: str, *, tick: Tick = no_tick) -> Published | None:
        """The whole artifact at `uri`, read and verified; None where there is none yet."""

    def prepare(self, uri: str) -> None:
        """Fail now, before the work, if `uri` cannot be written."""

    def publish(self, work: Path, uri: str, fields: ManifestFields, *, tick: Tick = no_tick) -> Published:
        """Put the files of `work` (a folder, or one file) at `uri` as one artifact, or find it there whole."""

    def sibling(self, uri: str, suffix: str) -> Path:
        """A folder of the stage's own beside `uri`, such as that of its checkpoints; not created."""


def store_for(uri: str, mounts: Mapping[str, str]) -> Store:
    """The store that serves a URI; an unknown scheme is StageError(INVALID_SPEC) when the URI is used."""
    from speechless.store.local import LocalStore

    return LocalStore(mounts)
