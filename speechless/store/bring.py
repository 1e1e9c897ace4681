"""A copy of a source in a folder of this machine: whole under its name, or not there."""

from __future__ import annotations

import shutil
from pathlib import Path

from speechless.contract import MANIFEST_NAME, FailureReason, Source
from speechless.errors import StageError
from speechless.store.base import Access, Opened
from speechless.store.choice import ALL, Choice, check_choice
from speechless.store.digest import Tick, files_below, hash_file, mismatch, no_tick
from speechless.store.problems import writing
from speechless.store.stores import store_for
from speechless.store.words import uri_of


def bring(
    word: str,
    target: Path,
    *,
    digest: str | None = None,
    choice: Choice = ALL,
    tick: Tick = no_tick,
) -> Opened:
    """Copy a source, or the chosen files of it, to `target`, a name that is free, and verify what is there then.

    It lies beside it as `.<name>.part` until it is whole; a download that was stopped goes on from there. A file of a
    source becomes a file. StageError as the source's store.
    """
    if target.exists():
        hint = "choose another name, or remove it"
        raise StageError(FailureReason.INVALID_SPEC, f"{target} is there already", hint)
    uri = uri_of(word)
    check_choice(uri, choice)
    source = Source(uri=uri, digest=digest, include=choice.include, exclude=choice.exclude)
    part = target.with_name(f".{target.name}.part")
    opened = store_for(uri, Access()).open(source, part / "in", tick=tick)
    with writing(str(target)):
        target.parent.mkdir(parents=True, exist_ok=True)
        if _is_ours(opened.path, part):
            opened.path.rename(target)
        else:
            _copy(opened.path, part / "copy", tick)
            (part / "copy").rename(target)
        shutil.rmtree(part, ignore_errors=True)
    return Opened(target, opened.digest, opened.manifest, opened.revision)


def _is_ours(path: Path, part: Path) -> bool:
    """Whether it was brought for this copy, as files of its own: no links, as a hub cache has."""
    if not path.absolute().is_relative_to(part.absolute()):
        return False
    files = [path] if path.is_file() else path.rglob("*")
    return not any(file.is_symlink() or (file.is_file() and file.stat().st_nlink > 1) for file in files)


def _copy(source: Path, target: Path, tick: Tick) -> None:
    """The files that are content, and the manifest if there is one; links are resolved, and each copy is compared."""
    if target.is_dir():
        shutil.rmtree(target)
    target.unlink(missing_ok=True)
    names = [(MANIFEST_NAME, source / MANIFEST_NAME)] if (source / MANIFEST_NAME).is_file() else []
    for name, path in [*files_below(source), *names]:
        to = target / name if source.is_dir() else target
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, to)
        if hash_file(to, name, tick) != hash_file(path, name, tick):
            raise mismatch(f"{name}: the copy has other bytes than the source")
