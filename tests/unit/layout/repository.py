"""The files of this repository, for the tests of its layout."""

import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


@cache
def files() -> tuple[Path, ...]:
    """The repository's files relative to its root: tracked ones, and new ones that git does not ignore."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    found = (Path(name) for name in listing.stdout.split("\0") if name)
    return tuple(sorted(path for path in set(found) if (ROOT / path).is_file()))


def texts() -> dict[str, str]:
    """The repository's text files: name -> content. A file with a zero byte is not text."""
    contents = {str(path): (ROOT / path).read_bytes() for path in files()}
    return {name: content.decode() for name, content in contents.items() if b"\0" not in content}
