"""Where a text ends when stop strings are given, while it still grows."""

from collections.abc import Iterable

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
"""What an unfinished character decodes to."""


def first_stop(text: str, stops: Iterable[str]) -> int | None:
    """The position of the earliest stop string; None: there is none."""
    found = [position for stop in stops if (position := text.find(stop)) >= 0]
    return min(found, default=None)


class Cutter:
    """Turns a growing text into pieces that may be sent: nothing of a stop string, no half characters.

    Feed it the whole text again and again as it grows; what it returns is new and final.
    """

    def __init__(self, stops: Iterable[str] = ()) -> None:
        """No stop strings: nothing but half characters is held back."""
        self.stops = tuple(stops)
        self.stopped = False
        """A stop string was found; no more text comes."""
        self._sent = 0

    def feed(self, text: str, *, last: bool = False) -> str:
        """The next piece. `last`: no more tokens follow, so nothing is held back."""
        if self.stopped:
            return ""
        position = first_stop(text, self.stops)
        if position is not None:
            self.stopped = True
            end = position
        elif last:
            end = len(text)
        else:
            end = len(text.rstrip(REPLACEMENT))
            end -= max((_overlap(text[:end], stop) for stop in self.stops), default=0)
        piece = text[self._sent : max(self._sent, end)]
        self._sent += len(piece)
        return piece


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of the text could be the beginning of the stop string."""
    return next(
        (size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0
    )
