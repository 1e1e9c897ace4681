"""The store for buckets: `s3://`, `gs://` and `az://`, by one client (obstore, which is the Rust crate object_store).

A bucket has no rename. So an artifact's files go under their final names, the manifest last: what has no manifest is no
artifact. One publisher at a time holds the claim (`claim.py`), an object beside the artifact. One that slept through
the loss of its claim may still write a file: so the versions of all files are compared before the manifest is put, and
every reader verifies every byte.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from speechless.contract import (
    MANIFEST_NAME,
    FailureReason,
    FileEntry,
    Manifest,
    Source,
    storage,
    tree_digest,
)
from speechless.entry import need
from speechless.errors import StageError
from speechless.store import transfer
from speechless.store.base import Access, ManifestFields, Opened, Published, RemoteSource
from speechless.store.bucket_checkpoints import BucketCheckpoints
from speechless.store.choice import Choice
from speechless.store.claim import TakenOverError, claimed
from speechless.store.clients import connect_bucket
from speechless.store.digest import Tick, files_below, mismatch, no_tick, other_digest, remove_others
from speechless.store.manifest import LARGEST, parse_manifest, part_of
from speechless.store.objects import (
    Place,
    Stored,
    any_below,
    below,
    call,
    create,
    delete,
    download_of,
    head,
    inside,
    put_bytes,
    put_file,
    read_small,
)
from speechless.store.parallel import side_by_side
from speechless.store.problems import bucket_answers

log = logging.getLogger(__name__)

TURNS = 4
"""How often a publisher that loses its claim tries."""


class BucketStore:
    """Implements `Store` for a bucket."""

    def __init__(self, scheme: storage.Scheme, settings: Mapping[str, str]) -> None:
        """Take the row of the URI's scheme, and what a Secret or the environment says."""
        self._scheme, self._settings = scheme, settings

    def open(self, source: Source, into: Path, *, tick: Tick = no_tick) -> Opened:
        """Bring a source into the folder `into`, hashed on the way; a file of it that is there whole stays."""
        place = self._place(source.uri)
        with self.asking(source.uri):
            choice = Choice.of(source)
            if single := head(place):
                choice.chosen(source.uri, [single.name])
                entries = transfer.download([download_of(place, single, into / single.name, None)], tick)
                return _opened(source, into / single.name, tree_digest(entries), None)
            objects = _objects(place)
            manifest = _manifest(place, objects)
            names = choice.chosen(source.uri, (name for name in objects if name != MANIFEST_NAME))
            objects = {name: objects[name] for name in names}
            manifest = part_of(manifest, choice) if manifest else None
            expected = _compared(manifest, objects) if manifest else {}
            if manifest and source.digest and manifest.digest != source.digest:
                raise other_digest(source, manifest.digest)
            wanted = [objects[name] for name in names]
            files = [
                download_of(place, found, inside(source.uri, into, found.name), expected.get(found.name))
                for found in wanted
            ]
            entries = transfer.download(files, tick)
            remove_others(into, {found.name for found in wanted})
            if choice:
                (into / MANIFEST_NAME).unlink(missing_ok=True)  # of an earlier download of the whole
            elif manifest:
                (into / MANIFEST_NAME).write_bytes(manifest.to_json(indent=1).encode() + b"\n")
            return _opened(source, into, tree_digest(entries), manifest)

    def resolve(self, source: Source) -> RemoteSource:
        """What a list of its objects says, and its manifest."""
        uri, place = source.uri, self._place(source.uri)
        with self.asking(uri):
            single = head(place)
            objects = {single.name: single} if single else _objects(place)
            manifest = None if single else _manifest(place, objects)
            if manifest:
                _compared(manifest, objects)
        versions = [f"{found.etag} {found.size} {name}" for name, found in objects.items()]
        return RemoteSource(
            state=hashlib.sha256("\n".join(versions).encode()).hexdigest(),
            size=sum(found.size for found in objects.values()),
            digest=manifest.digest if manifest else None,
            file=single.name if single else "",
        )

    def exists(self, uri: str) -> bool:
        """Whether an object has this key, or lies below it."""
        place = self._place(uri)
        with self.asking(uri):
            return head(place) is not None or any_below(place)

    def find(self, uri: str, *, tick: Tick = no_tick) -> Published | None:
        """The artifact at `uri`: its manifest, and every file's size. Bytes are verified by who reads them."""
        place = self._place(uri)
        with self.asking(uri):
            return _found(place)

    def prepare(self, uri: str) -> None:
        """Put a small object beside the artifact, and remove it."""
        place = self._output(uri).beside(f".probe-{uuid.uuid4().hex[:8]}")
        with self.asking(uri, writing=True):
            call(lambda: put_bytes(place, place.key, b"speechless writes here before its work\n"))
            call(lambda: delete(place, [place.key]))

    def publish(self, work: Path, uri: str, fields: ManifestFields, *, tick: Tick = no_tick) -> Published:
        """Take the claim, put the files, put the manifest; or find that another attempt did.

        Who loses the claim, because nothing was heard of it for a while, begins anew: as a rule it finds the other's.
        """
        place = self._output(uri)
        with self.asking(uri, writing=True):
            for _ in range(TURNS - 1):
                try:
                    return self._publish(place, work, fields, tick)
                except TakenOverError as problem:
                    log.info("%s: %s: once more", uri, problem.message)
            return self._publish(place, work, fields, tick)

    def _publish(self, place: Place, work: Path, fields: ManifestFields, tick: Tick) -> Published:
        if found := _found(place):
            return found
        with claimed(place.beside(".publishing"), lambda: _found(place), tick) as claim:
            if claim.found:
                return claim.found
            if not claim.wrote and any_below(place):
                raise StageError(
                    FailureReason.INVALID_SPEC,
                    f"{place.uri}: the output exists and is not an artifact",
                    "choose another output, or move away what is there",
                )
            claim.writes()
            try:
                whole = _upload(place, work, fields, tick)
            finally:
                claim.check()  # what went wrong may be the other publisher's doing
            text = whole.to_json(indent=1).encode() + b"\n"
            if not create(place, place.below(MANIFEST_NAME), text) and (found := _found(place)):
                return found
        return Published.of(place.uri, whole, reused=False)

    def checkpoints(self, uri: str, scratch: Path) -> BucketCheckpoints:
        """In `<the artifact>.checkpoints`; the run writes them into `scratch`."""
        return BucketCheckpoints(self.asking, self._output(uri).beside(".checkpoints"), scratch)

    def _output(self, uri: str) -> Place:
        """Where something is published: below the bucket's root, as its claim stands beside it."""
        place = self._place(uri)
        if not place.key:
            hint = f"write {self._scheme.example}"
            raise StageError(
                FailureReason.INVALID_SPEC, f"{uri} names no path in its {self._scheme.host}", hint
            )
        return place

    def _place(self, uri: str) -> Place:
        found = storage.check(uri)
        key = "/".join(found.parts)
        client = connect_bucket(uri, self._scheme.name, found.host, self._settings)
        return Place(uri, client, key)

    def asking(self, uri: str, *, writing: bool = False) -> AbstractContextManager[None]:
        """What the client says of `uri` in this block, as a StageError."""
        return bucket_answers(uri, self._scheme, self._settings, writing=writing)


def connect(scheme: storage.Scheme, access: Access, settings: Mapping[str, str]) -> BucketStore:
    """The store of a bucket; StageError if the client is not installed."""
    need("obstore")
    return BucketStore(scheme, settings)


# -------------------------------------------------------------------------------------------------------------- reading


def _objects(place: Place) -> dict[str, Stored]:
    """What lies below a key; StageError if nothing does."""
    objects = below(place)
    if not objects:
        hint = "check the URI; keys are case-sensitive"
        raise StageError(FailureReason.INPUT_NOT_FOUND, f"{place.uri}: nothing is there", hint)
    return objects


def _manifest(place: Place, objects: Mapping[str, Stored]) -> Manifest | None:
    if MANIFEST_NAME not in objects:
        return None
    text = read_small(place, place.below(MANIFEST_NAME), LARGEST)
    return parse_manifest(text) if text is not None else None


def _compared(manifest: Manifest, objects: Mapping[str, Stored]) -> dict[str, FileEntry]:
    """The manifest's files by name; DIGEST_MISMATCH if the bucket has others, or others' sizes."""
    if tree_digest(manifest.files) != manifest.digest:
        raise mismatch(f"{MANIFEST_NAME}: its digest is not that of the files it lists")
    expected = {entry.path: entry for entry in manifest.files}
    for name in sorted({*expected, *objects} - {MANIFEST_NAME}, key=str.encode):
        if name not in objects:
            raise mismatch(f"{name}: the file is missing")
        if name not in expected:
            raise mismatch(f"{name}: the file is not part of the artifact")
        if objects[name].size != expected[name].size:
            raise mismatch(f"{name}: {objects[name].size} bytes instead of {expected[name].size}")
    return expected


def _found(place: Place) -> Published | None:
    text = read_small(place, place.below(MANIFEST_NAME), LARGEST)
    if text is None:
        return None
    manifest = parse_manifest(text)
    _compared(manifest, below(place))
    return Published.of(place.uri, manifest, reused=True)


def _opened(source: Source, path: Path, digest: str, manifest: Manifest | None) -> Opened:
    if source.digest and digest != source.digest:
        raise other_digest(source, digest)
    return Opened(path, digest, manifest)


# -------------------------------------------------------------------------------------------------------------- writing


def _upload(place: Place, work: Path, fields: ManifestFields, tick: Tick) -> Manifest:
    """Put the files, then see that the bucket has these and no others."""
    files = list(files_below(work))
    if not files:
        raise ValueError(f"nothing to publish in {work}")
    put = side_by_side(
        files, lambda file, watch: put_file(place, place.below(file[0]), file[1], file[0], watch), tick
    )
    entries = tuple(entry for entry, _ in put)
    whole = Manifest(files=entries, digest=tree_digest(entries), **fields)
    objects = below(place)
    if others := sorted(objects.keys() - {entry.path for entry in entries} - {MANIFEST_NAME}):
        log.info("removing %d files of an attempt that was killed", len(others))
        call(lambda: delete(place, [objects[name].key for name in others]))
        objects = {name: found for name, found in objects.items() if name not in others}
    _compared(whole, objects)
    changed = [entry.path for entry, etag in put if etag and objects[entry.path].etag != etag]
    if changed:
        raise TakenOverError(f"{place.uri}: {changed[0]} was written by another publisher, too")
    return whole
