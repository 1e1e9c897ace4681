"""Run a command's `main` and get its exit status, however it ends."""

from collections.abc import Callable, Sequence


def status_of(main: Callable[[Sequence[str]], int], words: Sequence[str]) -> int:
    """The status that a shell would see: argparse ends a usage error by SystemExit."""
    try:
        return main(words)
    except SystemExit as end:
        return int(end.code or 0)
