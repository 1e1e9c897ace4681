"""A part of a source by patterns of names, as the hub's client has `allow_patterns` and `ignore_patterns`."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatch
from typing import NamedTuple

from speechless.contract import FailureReason, SourceOptions, storage
from speechless.errors import StageError

SHOWN = 8
"""Names that a message has of what is there."""


class Choice(NamedTuple):
    """What of a source is read."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @classmethod
    def of(cls, source: SourceOptions) -> Choice:
        """What a source says."""
        return cls(source.include, source.exclude)

    def __bool__(self) -> bool:
        return bool(self.include or self.exclude)

    def takes(self, name: str) -> bool:
        """Whether a file of this name (with slashes, below the source) is read. A pattern `folder/` means all in it.

        >>> choice = Choice(include=("*.json", "sub/"), exclude=("sub/b*",))
        >>> [choice.takes(name) for name in ("deep/a.json", "sub/a", "sub/b", "a.txt")]
        [True, True, False, False]
        """
        wanted = not self.include or any(_fits(name, pattern) for pattern in self.include)
        return wanted and not any(_fits(name, pattern) for pattern in self.exclude)

    def chosen(self, uri: str, names: Iterable[str]) -> list[str]:
        """Those of the names that are read; StageError(INPUT_NOT_FOUND) where there are some and none is."""
        there = list(names)
        found = [name for name in there if self.takes(name)]
        if there and not found:
            raise self.nothing(uri, there)
        return found

    def nothing(self, uri: str, there: Iterable[str]) -> StageError:
        """INPUT_NOT_FOUND: the patterns choose nothing of what is there."""
        names = sorted(there)
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        what = f"{uri}: {self} chooses none of {len(names)} files: {', '.join(names[:SHOWN])}{more}"
        return StageError(
            FailureReason.INPUT_NOT_FOUND, what, "correct the patterns: a star stands for slashes, too"
        )

    def __str__(self) -> str:
        said = {"include": self.include, "exclude": self.exclude}
        return " ".join(f"{name} {', '.join(patterns)}" for name, patterns in said.items() if patterns)


ALL = Choice()


def _fits(name: str, pattern: str) -> bool:
    return fnmatch(name, f"{pattern}*" if pattern.endswith("/") else pattern)


def check_choice(uri: str, choice: Choice) -> None:
    """StageError(INVALID_SPEC) for patterns where the scheme's store cannot read a part."""
    if choice and (problem := storage.choice_problem(uri)):
        raise StageError(FailureReason.INVALID_SPEC, f"{uri}: {problem}")
