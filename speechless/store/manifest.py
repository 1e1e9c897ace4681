"""Reading `speechless.json`, the file that makes a folder an artifact."""

from pathlib import Path

from pydantic import ValidationError

from speechless.contract import MANIFEST_NAME, Manifest
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
