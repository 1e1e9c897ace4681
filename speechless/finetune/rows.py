"""The rows of a dataset as the numbers that a recipe makes of them: made once, by several processes, and kept on disk.

They are kept by a digest of all that decides them, so a run that goes on, or another one on the same rows, finds them.
"""

import contextlib
import hashlib
import json
import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from speechless import __version__
from speechless.contract import FailureReason
from speechless.cpus import usable_cpus
from speechless.data import Placed, Survey, read_rows
from speechless.data.tokenizer import FILES
from speechless.errors import StageError
from speechless.finetune.job import Counts, Rows
from speechless.finetune.tokens import Chunk, Encoding, Refused
from speechless.store import digest_tree

log = logging.getLogger(__name__)

CHUNK = 256
"""Rows that a process gets at once."""
ROWS_A_PROCESS = 2000
"""Fewer rows are not worth the seconds in which another process loads its libraries."""
KEPT, SHARE = 8, 10
"""Datasets that a folder keeps, and the part of the disk (a tenth): the one that was used longest ago goes first."""
_ABANDONED = 86_400
"""Seconds in which a folder that is being made has got nothing."""
_TOLD = 20
_LOOK_SECONDS = 0.5
_TOKENIZER = (*FILES, "config.json")
"""What decides how a text becomes tokens."""

Tick = Callable[[int, int], None]
"""(rows made, rows in all); it may raise to stop the work."""


@dataclass(frozen=True)
class Wanted:
    """A dataset to make numbers of."""

    data: Survey
    digests: Sequence[str]
    """What tells the files' bytes from others."""
    encoding: Encoding


def prepare(wanted: Wanted, folder: Path, tick: Tick) -> Rows:
    """The rows below `folder`, made now or found there.

    StageError(DATASET_INVALID) if no row to train on has anything to learn.
    """
    place = folder / key(wanted)
    found = _found(place)
    if found is None:
        folder.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
        try:
            made = _make(wanted, partial, tick)
            (partial / "rows.json").write_text(made.model_dump_json())
            _put(partial, place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        found = _found(place)
        assert found is not None
    else:
        log.info("%d rows were made into tokens by an earlier run", found.counts.rows)
    os.utime(place)
    _trim(folder, place)
    return found


def key(wanted: Wanted) -> str:
    """SHA-256, hexadecimal, of all that decides the numbers."""
    encoding, data = wanted.encoding, wanted.data
    folder = encoding.tokenizer
    files = sorted({path for pattern in _TOKENIZER for path in folder.glob(pattern) if path.is_file()})
    told = {
        "version": __version__,
        "code": _code(),
        "rows": list(wanted.digests),
        "format": data.format.value,
        "parts": hashlib.sha256(bytes(data.parts)).hexdigest(),
        "tokenizer": {path.name: digest_tree(path)[0] for path in files},
        "objective": encoding.objective.value,
        "maxLength": encoding.max_length,
        "skip": encoding.skip,
        "packing": encoding.packing,
        "remove": encoding.remove,
        "byRow": encoding.by_row,
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


@cache
def _code() -> str:
    """SHA-256 of the modules that make the numbers: a checkout changes more often than its version."""
    here = Path(__file__).parent
    files = [
        *(here / name for name in ("tokens.py", "packing.py")),
        *sorted(here.glob("recipes/*.py")),
        *sorted(here.parent.glob("data/**/*.py")),
        *sorted(here.parent.glob("data/prompt_types/*.jinja")),
    ]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _found(place: Path) -> Rows | None:
    """What lies at a place, if it is whole."""
    try:
        rows = Rows.model_validate_json((place / "rows.json").read_bytes())
    except (OSError, ValueError):
        return None
    at = {"train": place / rows.train.name, "heldout": rows.heldout and place / rows.heldout.name}
    return rows.model_copy(update=at)


def _put(partial: Path, place: Path) -> None:
    """Give a folder its name. Another run may have been quicker: its bytes are the same."""
    if place.exists() and _found(place) is None:
        shutil.rmtree(place)
    try:
        partial.rename(place)
    except OSError:
        if _found(place) is None:
            raise


def _trim(folder: Path, used: Path) -> None:
    """Remove what was not used for the longest time. A run that reads it has it open, and keeps it."""
    for path in folder.glob(".partial-*"):  # of one that was killed
        with contextlib.suppress(FileNotFoundError):
            if time.time() - max(each.stat().st_mtime for each in (path, *path.iterdir())) > _ABANDONED:
                shutil.rmtree(path, ignore_errors=True)
    room = shutil.disk_usage(folder).total // SHARE
    others = [path for path in folder.iterdir() if path != used and not path.name.startswith(".partial-")]
    for number, path in enumerate(sorted(others, key=lambda each: each.stat().st_mtime, reverse=True), 1):
        room -= sum(file.stat().st_size for file in path.iterdir())
        if number >= KEPT or room < 0:
            shutil.rmtree(path, ignore_errors=True)


def _make(wanted: Wanted, folder: Path, tick: Tick) -> Rows:
    data, encoding = wanted.data, wanted.encoding
    total = data.train_rows + data.heldout_rows
    processes = max(1, min(usable_cpus(), total // ROWS_A_PROCESS))
    made = 0

    def seen(done: int, of: int) -> None:
        nonlocal made
        made = done
        tick(done, of)

    with _Pool(encoding, processes, lambda: tick(made, total)) as pool:
        train, heldout = folder / "train.arrow", folder / "heldout.arrow"
        counts = _split("train", pool.encode(read_rows(data, heldout=False)), train, encoding, 0, total, seen)
        if not counts.rows:
            what = (
                f"{data.files[0].name}: no row has a token to learn within maxLength ({encoding.max_length})"
            )
            raise StageError(FailureReason.DATASET_INVALID, what, "raise maxLength, or shorten the prompts")
        if not data.heldout_rows:
            return Rows(train=train, heldout=None, counts=counts, bad=data.bad_rows)
        rows = pool.encode(read_rows(data, heldout=True))
        held = _split("held out", rows, heldout, encoding, data.train_rows, total, seen)
        if not held.rows:
            log.warning(
                "no held-out row has a token to learn within maxLength: the loss on them is not measured"
            )
        bad = data.bad_rows + held.bad
        return Rows(train=train, heldout=heldout if held.rows else None, counts=counts, bad=bad)


def _split(
    name: str, chunks: Iterable[Chunk], file: Path, encoding: Encoding, before: int, total: int, tick: Tick
) -> Counts:
    """Write the chunks to one file and say what became of the rows."""
    import pyarrow as pa

    counts, told, done = Counts(), 0, before
    with pa.OSFile(str(file), "wb") as sink:
        writer: Any = None
        for chunk in chunks:
            with pa.ipc.open_stream(chunk.batch) as batches:
                for batch in batches:
                    writer = writer or pa.ipc.new_stream(sink, batch.schema)
                    writer.write_batch(batch)
            counts += chunk.counts
            for refused in chunk.refused[: max(0, _TOLD - told)]:
                log.warning("left out: %s", refused)
                told += 1
            done += chunk.given
            tick(done, total)
        if writer is not None:
            writer.close()
    log.info(
        "%s: %d rows, %d tokens, %d of them learned; %d rows cut at %d tokens, %d dropped: nothing left to learn",
        *(name, counts.rows, counts.tokens, counts.learned, counts.cut, encoding.max_length, counts.dropped),
    )
    if counts.removed:
        log.info("%s: %d rows left out that are longer", name, counts.removed)
    if counts.bad:
        log.warning("%s: %d rows left out that cannot be encoded", name, counts.bad)
    return counts


class _Pool:
    """Processes that encode chunks, a thread of this process each."""

    def __init__(self, encoding: Encoding, processes: int, look: Callable[[], None]) -> None:
        """`look` is called while nothing is ready, as their libraries take seconds to load; it may raise."""
        self._look = look
        self._children = [_Child(encoding) for _ in range(processes)]
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix="tokens")
        self._free = list(self._children)

    def __enter__(self) -> "_Pool":
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            child.end()
        self._threads.shutdown()

    def encode(self, rows: Iterator[Placed]) -> Iterator[Chunk]:
        """The rows' chunks, in their order; a few are under way at a time."""
        waiting: list[Future[Chunk]] = []
        chunks = iter(lambda: list(islice(rows, CHUNK)), [])
        for chunk in chunks:
            waiting.append(self._threads.submit(self._one, chunk))
            if len(waiting) > 2 * len(self._children):
                yield self._result(waiting.pop(0))
        for future in waiting:
            yield self._result(future)

    def _result(self, future: Future[Chunk]) -> Chunk:
        while not wait((future,), timeout=_LOOK_SECONDS).done:
            self._look()
        return future.result()

    def _one(self, chunk: list[Placed]) -> Chunk:
        child = self._free.pop()  # a thread a child: one is free
        try:
            return child.encode(chunk)
        finally:
            self._free.append(child)


class _Child:
    """A process of `rows_main.py`."""

    def __init__(self, encoding: Encoding) -> None:
        # A group of its own: Ctrl-C is for the process that started it, which ends this one.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "speechless.finetune.rows_main"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._encoding: Encoding | None = encoding

    def encode(self, chunk: list[Placed]) -> Chunk:
        """What became of the rows; the process's StageError is raised here."""
        given, answers = self._process.stdin, self._process.stdout
        assert given is not None
        assert answers is not None
        try:
            if self._encoding is not None:
                pickle.dump(self._encoding, given)
                self._encoding = None
            pickle.dump(chunk, given, protocol=pickle.HIGHEST_PROTOCOL)
            given.flush()
            told = pickle.load(answers)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
            raise RuntimeError(f"the process that makes tokens of rows {self._how()}") from error
        if isinstance(told, Refused):
            raise StageError(told.reason, told.message, told.hint)
        return told  # type: ignore[no-any-return]

    def end(self) -> None:
        """End the process: it keeps nothing."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # what it was not given yet
                    pipe.close()
        self._process.wait()

    def _how(self) -> str:
        try:
            status = self._process.wait(10)
        except subprocess.TimeoutExpired:
            return "answers with something else"
        return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
