"""The store for `oci://`: an artifact is a manifest in a registry, its files are blobs.

A registry compares a blob's digest when it takes it, and takes a manifest only when its blobs are there: so an artifact
is there whole or not at all. What a registry does not have is a write on a condition. So a publisher looks whether the
tag is free, sets it, waits, and looks whose it is: the last one that set it has it, and whoever looks later finds it
taken (Fischer's algorithm, with the tag as the shared variable).
"""

from __future__ import annotations

import re
import shutil
import tarfile
import time
import zlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from speechless.contract import (
    MANIFEST_NAME,
    FailureReason,
    Manifest,
    Source,
    storage,
    tree_digest,
)
from speechless.entry import need
from speechless.errors import StageError
from speechless.store import transfer
from speechless.store.base import Access, ManifestFields, Opened, Published, RemoteSource
from speechless.store.blobs import call, download_of, put_bytes, put_files
from speechless.store.choice import ALL, Choice
from speechless.store.digest import (
    Tick,
    digest_tree,
    files_below,
    mismatch,
    no_tick,
    other_digest,
    remove_others,
)
from speechless.store.manifest import LARGEST, parse_manifest, part_of
from speechless.store.modelpack import Layer, config_of, digest_of, layers_of, manifest_of
from speechless.store.oci_checkpoints import OciCheckpoints
from speechless.store.registry import Repository, Tagged
from speechless.store.registry_problems import registry_answers

SETTLE = 2.0
"""Seconds after which a tag that is set is still ours, or another's for good: longer than a publisher takes from its
last look to its request's end."""
DEFAULT_TAG = "latest"
_REFERENCE = re.compile(r"(?P<name>[^:@]+)(:(?P<tag>[^@]+))?(@(?P<digest>.+))?")
"""Of what the row's pattern lets through."""
_EMPTY = b"{}"
"""What OCI calls the empty blob: put to see that a registry takes some."""


class Reference(NamedTuple):
    """What an `oci://` URI means."""

    host: str
    name: str
    tag: str
    digest: str | None


class OciStore:
    """Implements `Store` for a registry."""

    def __init__(self, scheme: storage.Scheme, settings: Mapping[str, str]) -> None:
        """Take the row of the URI's scheme, and what a Secret or the environment says."""
        self._scheme, self._settings = scheme, settings

    def open(self, source: Source, into: Path, *, tick: Tick = no_tick) -> Opened:
        """Bring the files into the folder `into`, verified on the way; a file that is there whole stays."""
        with self.asking(source.uri):
            found, repository = self._reference(source.uri)
            tagged = _tagged(repository, found, source.uri)
            choice = Choice.of(source)
            everything = layers_of(tagged.read())
            layers = _chosen(everything, choice, source.uri)
            manifest = _compared(repository, everything, choice)
            if manifest and source.digest and manifest.digest != source.digest:
                raise other_digest(source, manifest.digest)
            plain = [layer for layer in layers.values() if not layer.archive]
            archives = [layer for layer in layers.values() if layer.archive]
            entries = transfer.download([download_of(repository, layer, into) for layer in plain], tick)
            remove_others(
                into, {layer.name for layer in plain}
            )  # also what an archive left, of this version or another
            if choice:
                (into / MANIFEST_NAME).unlink(missing_ok=True)
            if archives:
                _unpack(repository, archives, into, tick)
                digest, _ = digest_tree(into, tick)
            else:
                digest = tree_digest(entry for entry in entries if entry.path != MANIFEST_NAME)
            if source.digest and digest != source.digest:
                raise other_digest(source, digest)
            return Opened(into, digest, manifest, revision=tagged.digest)

    def resolve(self, source: Source) -> RemoteSource:
        """What the registry's manifest says: its digest is the state."""
        uri = source.uri
        with self.asking(uri):
            found, repository = self._reference(uri)
            tagged = _tagged(repository, found, uri)
            layers = layers_of(tagged.read())
            manifest = _compared(repository, layers)
        size = sum(layer.size for layer in layers.values())
        return RemoteSource(state=tagged.digest, size=size, digest=manifest.digest if manifest else None)

    def exists(self, uri: str) -> bool:
        """Whether the registry has the tag, or the digest."""
        with self.asking(uri):
            found, repository = self._reference(uri)
            return call(lambda: repository.manifest(found.digest or found.tag)) is not None

    def find(self, uri: str, *, tick: Tick = no_tick) -> Published | None:
        """The artifact at `uri`: its manifest, compared with the registry's. Bytes are verified by who reads them."""
        with self.asking(uri):
            found, repository = self._output(uri)
            return _found(repository, found, uri)

    def prepare(self, uri: str) -> None:
        """Put OCI's empty blob: two bytes, which a registry has anyway or forgets."""
        with self.asking(uri, writing=True):
            _, repository = self._output(uri)
            put_bytes(repository, _EMPTY, anew=True)

    def publish(self, work: Path, uri: str, fields: ManifestFields, *, tick: Tick = no_tick) -> Published:
        """Put the files that the registry does not have, then the manifest under its tag."""
        with self.asking(uri, writing=True):
            found, repository = self._output(uri)
            if there := _found(repository, found, uri):
                return there
            files = list(files_below(work))
            if not files:
                raise ValueError(f"nothing to publish in {work}")
            entries = put_files(repository, files, tick)
            whole = Manifest(files=entries, digest=tree_digest(entries), **fields)
            text = whole.to_json(indent=1).encode() + b"\n"
            for blob in (config_of(whole), text):
                put_bytes(repository, blob)
            content = manifest_of(whole, text)
            if there := _found(repository, found, uri):
                return there
            call(lambda: repository.put_manifest(found.tag, content))
            time.sleep(SETTLE)
            tagged = call(lambda: repository.manifest(found.tag))
            if tagged is None or tagged.digest != digest_of(content):
                there = _found(repository, found, uri)
                if there is None:
                    what = f"{uri}: the tag was set, and is gone"
                    raise StageError(FailureReason.STORE_UNAVAILABLE, what, "try again")
                return there
        return Published.of(uri, whole, reused=False)

    def checkpoints(self, uri: str, scratch: Path) -> OciCheckpoints:
        """In the same repository, as `<the artifact's tag>.checkpoint-<step>`; the run writes them into `scratch`."""
        found, repository = self._output(uri)
        return OciCheckpoints(self.asking, uri, repository, found.tag, scratch)

    def _reference(self, uri: str) -> tuple[Reference, Repository]:
        found = reference_of(uri)
        try:
            return found, Repository(found.host, found.name, self._settings)
        except ValueError as error:
            hint = f"check the Secret's keys, or the variables {', '.join(sorted(self._settings)) or '(none is set)'}"
            raise StageError(FailureReason.INPUT_FORBIDDEN, f"{uri}: {error}", hint) from None

    def _output(self, uri: str) -> tuple[Reference, Repository]:
        found, repository = self._reference(uri)
        if found.digest:
            what = f"{uri} names a digest: nothing is published under one"
            raise StageError(FailureReason.INVALID_SPEC, what, f"write {self._scheme.example}")
        return found, repository

    def asking(self, uri: str, *, writing: bool = False) -> AbstractContextManager[None]:
        """What the registry says of `uri` in this block, as a StageError."""
        return registry_answers(uri, self._scheme, self._settings, writing=writing)


def connect(scheme: storage.Scheme, access: Access, settings: Mapping[str, str]) -> OciStore:
    """The store of a registry; StageError if the client is not installed."""
    need("oras")
    return OciStore(scheme, settings)


def reference_of(uri: str) -> Reference:
    """What `oci://<registry>/<repository>[:<tag>][@sha256:<digest>]` means; without both, the tag is `latest`.

    >>> reference_of("oci://registry:5000/team/base:v1")
    Reference(host='registry:5000', name='team/base', tag='v1', digest=None)
    """
    place = storage.check(uri)
    match = _REFERENCE.fullmatch("/".join(place.parts))
    if match is None or not re.fullmatch(place.scheme.pattern, uri):
        hint = f"write {place.scheme.example}"
        raise StageError(
            FailureReason.INVALID_SPEC, f"{uri} names no repository with a tag or a digest", hint
        )
    return Reference(place.host, match["name"], match["tag"] or DEFAULT_TAG, match["digest"])


# -------------------------------------------------------------------------------------------------------------- reading


def _tagged(repository: Repository, found: Reference, uri: str) -> Tagged:
    wanted = found.digest or found.tag
    tagged = call(lambda: repository.manifest(wanted))
    if tagged is None:
        what = f"{uri}: {found.host} has no {wanted} in {found.name}, or does not show it to you"
        hint = "check the repository and the tag; a private one needs credentials"
        raise StageError(FailureReason.INPUT_NOT_FOUND, what, hint)
    return tagged


def _chosen(layers: dict[str, Layer], choice: Choice, uri: str) -> dict[str, Layer]:
    """The layers that are read. A part is no artifact: the artifact's own manifest is not among them."""
    if not choice:
        return layers
    if packed := next((layer.name for layer in layers.values() if layer.archive), None):
        what = f"{uri}: its layer {packed} is an archive, and include and exclude choose no files of one"
        raise StageError(
            FailureReason.INVALID_SPEC, what, "read it whole, or push its files without an archive"
        )
    names = choice.chosen(uri, (name for name in layers if name != MANIFEST_NAME))
    return {name: layers[name] for name in names}


def _compared(repository: Repository, layers: Mapping[str, Layer], choice: Choice = ALL) -> Manifest | None:
    """What the artifact's own manifest says of the files that are read; None: there is none.

    DIGEST_MISMATCH if it names other files than the registry's.
    """
    ours = layers.get(MANIFEST_NAME)
    if ours is None or ours.archive:
        return None
    manifest = part_of(parse_manifest(call(lambda: repository.small(ours.digest, LARGEST))), choice)
    layers = {name: layer for name, layer in layers.items() if choice.takes(name)}
    expected = {entry.path: (f"sha256:{entry.sha256}", entry.size) for entry in manifest.files}
    there = {name: (layer.digest, layer.size) for name, layer in layers.items() if name != MANIFEST_NAME}
    for name in sorted({*expected, *there}):
        if expected.get(name) != there.get(name):
            raise mismatch(f"{name}: {MANIFEST_NAME} and the registry's manifest do not say the same of it")
    return manifest


def _found(repository: Repository, found: Reference, uri: str) -> Published | None:
    tagged = call(lambda: repository.manifest(found.tag))
    if tagged is None:
        return None
    try:
        manifest = _compared(repository, layers_of(tagged.read()))
    except StageError as problem:
        if problem.reason is not FailureReason.MODEL_INVALID:
            raise
        manifest = None  # something else, such as a container image
    if manifest is None:
        hint = "choose another output, or another tag"
        raise StageError(FailureReason.INVALID_SPEC, f"{uri}: the output exists and is not an artifact", hint)
    return Published.of(uri, manifest, reused=True)


def _unpack(repository: Repository, archives: list[Layer], into: Path, tick: Tick) -> None:
    """Bring archives beside the folder, and their files into it; links and paths that lead out are refused."""
    beside = into.with_name(f".{into.name}.layers")
    for layer in archives:
        one = Layer(layer.digest.removeprefix("sha256:"), layer.digest, layer.size)
        transfer.download([download_of(repository, one, beside)], tick)
        try:
            with tarfile.open(beside / one.name) as archive:
                archive.extractall(into, filter="data")
        except (tarfile.TarError, EOFError, zlib.error) as error:
            what = f"{layer.name}: the archive cannot be unpacked: {error}"
            raise StageError(
                FailureReason.INPUT_FORBIDDEN, what, "push its files without an archive"
            ) from None
    shutil.rmtree(beside)
