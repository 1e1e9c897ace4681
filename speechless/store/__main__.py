"""`python -m speechless.store fetch|publish|cache`: bring a source here, put a folder somewhere, look at the cache."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import field_serializer

from speechless.arguments import Parser
from speechless.contract import FailureReason, Format, ModelInfo, storage
from speechless.entry import run
from speechless.errors import StageError, words_of
from speechless.output import Document, Results, results
from speechless.progress import showing
from speechless.store import ManifestFields, store_for
from speechless.store.bring import bring
from speechless.store.cache import machine_cache
from speechless.store.cache_folder import FOLDER, SIZE, Entry, gb
from speechless.store.choice import Choice
from speechless.store.formats import format_of
from speechless.store.modelcheck import described
from speechless.store.words import uri_of

AUTO = "auto"


class Fetched(Document):
    """What `fetch` prints."""

    path: Path
    """The copy."""
    digest: str
    """Of what was read, as `digest` of a resource has it."""
    revision: str | None
    """What the place calls the state that was read, such as a hub's commit."""


class Put(Document):
    """What `publish` prints."""

    uri: str
    """Where the artifact is."""
    digest: str
    """Its digest."""
    size_bytes: int
    """Bytes of its files."""
    format: Format
    """What kind of files it has."""
    model: ModelInfo | None
    """What model it holds, as its manifest has it; null: it holds none, or nothing is known of it."""
    reused: bool
    """Whether it was there already."""

    @field_serializer("model")
    def _as_in_the_manifest(self, value: ModelInfo | None) -> dict[str, Any] | None:
        return value.to_plain() if value else None


class CachedSource(Document):
    """What was brought here once."""

    digest: str
    """Of its content."""
    size_bytes: int
    """Bytes on the disk."""
    last_used: str
    """When a command used it last: RFC 3339, UTC."""
    uris: tuple[str, ...]
    """Where it was read."""
    in_use: bool
    """Whether a command uses it now."""


class Cached(Document):
    """What `cache` prints."""

    folder: Path
    """The cache."""
    limit_bytes: int
    """Bytes that it holds at most."""
    sources: tuple[CachedSource, ...]
    """What it holds, the last used first."""
    removed: tuple[CachedSource, ...]
    """What this command removed."""


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(
        prog="speechless store",
        description="Bring a model or data here, publish a folder as an artifact, or look at what other commands "
        "brought here. What a URI needs beside itself is read from the environment: HF_TOKEN, AWS_ACCESS_KEY_ID, "
        "AWS_ENDPOINT_URL and so on.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    fetched = commands.add_parser(
        "fetch",
        help="copy a source to a folder, verified",
        description="Copy a source to a path that is free, and verify it. It has its name when it is whole; a download "
        "that was stopped goes on with the same command.",
    )
    fetched.add_argument(
        "source",
        metavar="SOURCE",
        help=f"{storage.plain_examples(mounted=False)}, a hub's org/name[@revision], or a path",
    )
    fetched.add_argument(
        "target", type=Path, metavar="PATH", help="the copy: a folder, or a file if the source is one"
    )
    fetched.add_argument("--digest", metavar="SHA256", help="what it must digest to: sha256:...")
    for flag, what in (("include", "read these files alone"), ("exclude", "leave these files out")):
        fetched.add_argument(
            f"--{flag}",
            action="append",
            default=[],
            metavar="PATTERN",
            help=f"{what}: a pattern of names, such as '*.json' or 'original/*'; may be said again",
        )
    fetched.add_output(Fetched)
    put = commands.add_parser(
        "publish",
        help="put a folder somewhere as an artifact",
        description="Copy a folder or a file to a URI as an artifact: with a manifest that has every file's digest. It "
        "is there whole or not at all; what is there already is never overwritten.",
    )
    put.add_argument("source", type=Path, metavar="PATH", help="the folder, or one file")
    put.add_argument(
        "uri",
        metavar="URI",
        help=f"{storage.plain_examples(writable=True, mounted=False)} or file:///<path>: a folder that is free",
    )
    put.add_argument(
        "--format",
        default=AUTO,
        choices=[AUTO, *Format],
        help="what kind of files it holds; auto: by their names",
    )
    put.add_output(Put)
    kept = commands.add_parser(
        "cache",
        help="what commands brought to this machine: list, clear, check",
        description="Commands that are told a URI keep what it means in a folder of this machine, and use it again "
        f"until it changes there. ${FOLDER} names another folder, ${SIZE} how much it holds at most. A "
        "hub's models and datasets are in the hub client's own cache.",
    )
    kept.add_argument(
        "action",
        choices=("list", "clear", "check"),
        help="list: sizes, last uses and URIs; clear: remove what no command uses now; check: hash everything again, "
        "and remove what is damaged",
    )
    kept.add_argument("uris", nargs="*", metavar="URI", help="with clear: what was read there alone")
    kept.add_output(Cached)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line: 0 done, 1 failed, 2 usage error."""
    parser = build_parser()
    given = parser.parse(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
    try:
        with results(given.output) as out:
            return COMMANDS[given.command](given, out)
    except StageError as problem:
        hint = f" ({problem.hint})" if problem.hint else ""
        print(f"{parser.prog}: {problem.message}{hint}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{parser.prog}: {words_of(error)}", file=sys.stderr)
        return 1


def _fetch(given: argparse.Namespace, out: Results) -> int:
    with showing() as reporter:
        found = bring(
            given.source,
            given.target,
            digest=given.digest,
            choice=Choice(tuple(given.include), tuple(given.exclude)),
            tick=reporter.reading(f"reading {given.source}"),
        )
    made = Fetched(path=found.path, digest=found.digest, revision=found.revision)
    out.show(made, f"{made.path}: {made.digest}" + (f", revision {made.revision}" if made.revision else ""))
    return 0


def _publish(given: argparse.Namespace, out: Results) -> int:
    if not given.source.exists():
        raise FileNotFoundError(2, "No such file or directory", str(given.source))
    form = format_of(given.source) if given.format == AUTO else Format(given.format)
    uri = uri_of(given.uri)
    store = store_for(uri)
    store.prepare(uri)
    fields = ManifestFields(
        format=form, model=described(given.source, form), created_by="speechless store publish"
    )
    with showing() as reporter:
        made = store.publish(given.source, uri, fields, tick=reporter.reading(f"writing {uri}"))
    put = Put(
        uri=uri,
        digest=made.artifact.digest,
        size_bytes=made.artifact.size_bytes,
        format=form,
        model=made.manifest.model,
        reused=made.reused,
    )
    there = " (it was there already)" if put.reused else ""
    lines = [f"{put.uri}: {put.digest}, {put.size_bytes / 1e6:.2f} MB{there}"]
    out.show(put, "\n".join(lines + ([f"{put.format}: {put.model.said()}"] if put.model else [])))
    return 0


def _cache(given: argparse.Namespace, out: Results) -> int:
    """Status 1 if `check` found something damaged, or if a URI that was to be cleared is in use or unknown."""
    if given.uris and given.action != "clear":
        raise StageError(FailureReason.INVALID_SPEC, f"cache {given.action} takes no URI", "clear takes some")
    kept = machine_cache()
    removed: list[Entry] = []
    if given.action == "clear":
        removed = kept.clear(given.uris)
    elif given.action == "check":
        with showing() as reporter:
            removed = kept.check(reporter.reading(f"reading {kept.folder}"))
    found = Cached(
        folder=kept.folder,
        limit_bytes=kept.limit(),
        sources=tuple(map(_cached, kept.entries())),
        removed=tuple(map(_cached, removed)),
    )
    out.show(found, "\n".join(_lines(found, given.action)))
    status = 1 if given.action == "check" and removed else 0
    for uri in given.uris if given.action == "clear" else ():
        if not any(uri in each.uris for each in removed):
            print(f"speechless store: {uri}: {_why_not(uri, found)}", file=sys.stderr)
            status = 1
    return status


def _why_not(uri: str, found: Cached) -> str:
    if any(uri in each.uris for each in found.sources):
        return "a command uses it now (try again when it has ended)"
    return "the cache has nothing of it ('speechless store cache list' has its URIs)"


def _cached(entry: Entry) -> CachedSource:
    used = datetime.fromtimestamp(entry.used, UTC).isoformat(timespec="seconds")
    return CachedSource(
        digest=entry.digest, size_bytes=entry.size, last_used=used, uris=entry.uris, in_use=entry.in_use
    )


def _lines(found: Cached, action: str) -> Iterator[str]:
    what = {"clear": "removed", "check": "damaged, and removed"}.get(action, "")
    for each in found.removed:
        yield f"{what}: {_line(each)}"
    for each in found.sources:
        yield _line(each)
    size = sum(each.size_bytes for each in found.sources)
    yield f"{gb(size)} of at most {gb(found.limit_bytes)} in {found.folder}"


def _line(each: CachedSource) -> str:
    use = "in use now" if each.in_use else f"used {each.last_used}"
    return f"{gb(each.size_bytes):>12}  {use}  {each.digest[:19]}  {', '.join(each.uris)}"


COMMANDS = {"fetch": _fetch, "publish": _publish, "cache": _cache}

if __name__ == "__main__":
    run("store", main)
