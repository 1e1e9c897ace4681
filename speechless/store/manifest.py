"""Reading `speechless.json`, the file that makes a folder an artifact."""

from pathlib import Path

from pydantic import ValidationError

from speechless.contract import MANIFEST_NAME, Manifest, tree_digest
from speechless.store.choice import Choice
from speechless.store.digest import mismatch

LARGEST = 64 << 20
"""Bytes of a manifest at most (64 MiB, some 300,000 files): what a reader holds in memory."""


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder; None where there is none, StageError(DIGEST_MISMATCH) where it is not one."""
    path = folder / MANIFEST_NAME
    if not folder.is_dir() or not path.is_file():
        return None
    if path.stat().st_size > LARGEST:
        raise mismatch(f"{MANIFEST_NAME} is larger than {LARGEST >> 20} MiB")
    return parse_manifest(path.read_bytes())


def parse_manifest(text: bytes) -> Manifest:
    """A manifest from its JSON; StageError(DIGEST_MISMATCH) if it is none."""
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "JSON"
        raise mismatch(f"{MANIFEST_NAME} is not a manifest: {where}: {first['msg']}") from None


def part_of(manifest: Manifest, choice: Choice) -> Manifest:
    """What a manifest says of the files that are chosen: their entries, and the digest of these alone.

    StageError(DIGEST_MISMATCH) if the whole does not hold together. That of a part is never written beside the files:
    a part is no artifact.
    """
    if tree_digest(manifest.files) != manifest.digest:
        raise mismatch(f"{MANIFEST_NAME}: its digest is not that of the files it lists")
    if not choice:
        return manifest
    files = tuple(entry for entry in manifest.files if choice.takes(entry.path))
    return manifest.model_copy(update={"files": files, "digest": tree_digest(files)})
