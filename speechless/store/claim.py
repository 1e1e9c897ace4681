"""One publisher at a time, where a store has no locks but can put an object on a condition.

The claim is a small object that its holder writes anew every few seconds, on the condition that it is still their own.
One that was not written for a while is taken over, again on that condition: of several that try, one succeeds. Clocks
are not compared: a claim is old when it did not change while somebody looked at it.

Conditions: If-None-Match and If-Match of RFC 9110, which S3, Google Cloud Storage and Azure Blob Storage have.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from speechless.contract import FailureReason
from speechless.errors import StageError
from speechless.store.base import Published
from speechless.store.digest import Tick
from speechless.store.problems import first_line

if TYPE_CHECKING:
    from obstore import UpdateVersion

    from speechless.store.objects import Place

log = logging.getLogger(__name__)

BEAT = 5.0
"""Seconds between two writes of a claim."""
PATIENCE = 30.0
"""Seconds without a write after which a claim is nobody's."""
LOOK = 1.0
"""Seconds between two looks at another's claim."""


class TakenOverError(StageError):
    """Another publisher has the claim by now."""

    def __init__(self, what: str) -> None:
        """`what`: how it is known."""
        super().__init__(FailureReason.STORE_UNAVAILABLE, what, "try again: one publisher at a time")


@dataclass
class Claim:
    """The right to publish, or what another published meanwhile."""

    found: Published | None = None
    wrote: bool = False
    """Whether files of this attempt, or of one that had the claim before and did not succeed, may be there."""
    lost: bool = False
    _beat: _Beat | None = None

    def writes(self) -> None:
        """Say so, for whoever takes over, before the first file is written."""
        self.wrote = True
        if self._beat:
            self._beat.say()

    def check(self) -> None:
        """TakenOverError if another publisher took over."""
        if self.lost:
            raise TakenOverError("another publisher took over: this one wrote nothing for a while")


@contextmanager
def claimed(place: Place, find: Callable[[], Published | None], tick: Tick) -> Iterator[Claim]:
    """Hold the claim at `place` for the block, or come back with what another holder published.

    `tick` is called while another's claim is waited for, and may raise.
    """
    me = uuid.uuid4().hex
    version, wrote = _take(place, me, find, tick)
    if version is None:
        yield Claim(found=find())
        return
    claim = Claim(wrote=wrote)
    beat = claim._beat = _Beat(place, me, version, claim)
    published = False
    try:
        # Between a look for the artifact and the claim, another may have published and let go.
        claim.found = find()
        yield claim
        published = True
    finally:
        beat.end(published)


class _Beat:
    """Writes a claim anew until it is let go of, each time as a new version of itself."""

    def __init__(self, place: Place, me: str, version: UpdateVersion, claim: Claim) -> None:
        self._place, self._me, self._version, self._claim = place, me, version, claim
        self._count = 0
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="claim", daemon=True)
        self._thread.start()

    def say(self) -> None:
        """Write it now; TakenOverError if it is another's by now."""
        with self._lock:
            self._write()
        self._claim.check()

    def end(self, published: bool) -> None:
        """Remove the claim; if files of a failed attempt may be there, leave it: the next one knows them by it."""
        import obstore
        from obstore.exceptions import BaseError

        self._done.set()
        self._thread.join()
        if self._claim.lost:
            return
        try:
            if published or not self._claim.wrote:
                obstore.delete(self._place.client, self._place.key)
            else:
                self._put(let_go=True)
        except (BaseError, OSError) as error:
            what = "%s stays, and is taken over by whoever publishes next: %s"
            log.info(what, self._place.uri, first_line(error))

    def _run(self) -> None:
        from obstore.exceptions import BaseError

        last, well = time.monotonic(), False
        try:
            while not self._done.wait(BEAT) and not self._claim.lost:
                try:
                    with self._lock:
                        self._write()
                    last = time.monotonic()
                except (BaseError, OSError) as error:
                    what = "%s: the claim was not written: %s"
                    log.warning(what, self._place.uri, first_line(error))
                    if time.monotonic() - last > PATIENCE:
                        return
            well = True
        finally:
            self._claim.lost = self._claim.lost or not well

    def _write(self) -> None:
        from obstore.exceptions import PreconditionError

        try:
            self._put()
        except (PreconditionError, FileNotFoundError):
            # After an answer that was lost on the way the claim has another version, and is still this one's.
            held = _held(self._place)
            if held is None or held[0].get("holder") != self._me:
                self._claim.lost = True
            else:
                self._version = held[1]

    def _put(self, *, let_go: bool = False) -> None:
        import obstore

        # Counted: the same bytes again might be the same version.
        self._count += 1
        text = _text(self._me, self._count, wrote=self._claim.wrote, let_go=let_go)
        self._version = _version(obstore.put(self._place.client, self._place.key, text, mode=self._version))


def _take(
    place: Place, me: str, find: Callable[[], Published | None], tick: Tick
) -> tuple[UpdateVersion | None, bool]:
    """The version of the claim that is ours now, and whether an earlier holder wrote; None: an artifact appeared."""
    import obstore
    from obstore.exceptions import AlreadyExistsError, PreconditionError

    seen: tuple[UpdateVersion, float] = ({}, 0.0)
    told = False
    while True:
        with suppress(AlreadyExistsError, PreconditionError):
            return _version(obstore.put(place.client, place.key, _text(me, 0), mode="create")), False
        held = _held(place)
        if held is None:  # let go of between two looks
            tick(0)
            time.sleep(LOOK)
            continue
        content, version = held
        wrote = content.get("wrote") is not False
        if content.get("holder") == me:  # our own, whose answer was lost on the way
            return version, wrote
        now = time.monotonic()
        if seen[0] != version:
            seen = (version, now)
        if content.get("let_go") is True or now - seen[1] > PATIENCE:
            with suppress(PreconditionError, FileNotFoundError):
                text = _text(me, 0, wrote=wrote)
                return _version(obstore.put(place.client, place.key, text, mode=version)), wrote
            continue
        if not told:
            what = "another attempt holds %s: waiting until it is done, or silent for %d s"
            log.info(what, place.uri, PATIENCE)
            told = True
        if find():
            return None, False
        tick(0)
        time.sleep(LOOK)


def _text(holder: str, count: int, *, wrote: bool = False, let_go: bool = False) -> bytes:
    told = {"holder": holder, "count": count, "wrote": wrote, "let_go": let_go}
    return json.dumps(told).encode() + b"\n"


def _held(place: Place) -> tuple[dict[str, object], UpdateVersion] | None:
    """What the claim says, and its version; None where there is none. One that cannot be read says nothing."""
    import obstore

    try:
        found = obstore.get(place.client, place.key)
        content = bytes(found.bytes())
    except FileNotFoundError:
        return None
    try:
        told = json.loads(content)
    except ValueError:
        told = {}
    return told if isinstance(told, dict) else {}, _version(found.meta)


def _version(meta: object) -> UpdateVersion:
    """What the next condition asks for, of what an answer said; a store has one of the two, or both."""
    found = dict(meta)  # type: ignore[call-overload]
    version: UpdateVersion = {}
    if found.get("e_tag"):
        version["e_tag"] = found["e_tag"]
    if found.get("version"):
        version["version"] = found["version"]
    return version
