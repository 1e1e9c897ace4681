"""The cases, one by one.

    python -m tests.cases                  list them
    python -m tests.cases 05 [...]         run these, by number
    python -m tests.cases all -- -n 6 -x   run all; what comes after `--` goes to pytest

They are tests of the apiserver tier (tests/apiserver/operator/cases) and run with it, too.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / "apiserver" / "operator" / "cases"


def cases() -> dict[str, Path]:
    """Number to file."""
    return {path.name.split("_")[1]: path for path in sorted(FOLDER.glob("test_[0-9][0-9]_*.py"))}


def line(path: Path) -> str:
    """What a case is about: the first line of its file."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]


def main(argv: Sequence[str]) -> int:
    """List, or run and return pytest's exit status; 2 for a number that is no case."""
    words = list(argv)
    options = words[words.index("--") + 1 :] if "--" in words else []
    wanted = words[: words.index("--")] if "--" in words else words
    known = cases()
    if not wanted:
        for number, path in known.items():
            print(f"{number}  {line(path)}")
        return 0
    if unknown := [word for word in wanted if word not in known and word != "all"]:
        print(f"cases: there is no case {unknown[0]}; the cases: {' '.join(known)}", file=sys.stderr)
        return 2
    chosen = list(known) if "all" in wanted else wanted
    files = [str(known[number]) for number in chosen]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *files, *options], cwd=ROOT, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
