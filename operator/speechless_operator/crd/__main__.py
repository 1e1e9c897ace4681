"""`python -m speechless_operator.crd [--check]`: write the CRDs and the reference pages, or check that they are fresh.

Run from the repository's root. Written: `crds/*.yaml`, `charts/speechless/files/crds/*.yaml`, `docs/reference/*.md`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from speechless_operator.crd.definition import all_crds
from speechless_operator.crd.reference import pages

HEADER = "# Made from operator/speechless_operator/api by `python -m speechless_operator.crd`. Do not edit.\n"
CRDS = Path("crds")
CHART_CRDS = Path("charts/speechless/files/crds")
REFERENCE = Path("docs/reference")


def generated() -> dict[Path, str]:
    """Every generated file: its path below the repository's root, and its content."""
    files: dict[Path, str] = {}
    for name, definition in all_crds().items():
        text = HEADER + yaml.safe_dump(definition, sort_keys=False, width=120, allow_unicode=True)
        files[CRDS / name] = text
        files[CHART_CRDS / name] = text
    for name, text in pages().items():
        files[REFERENCE / name] = text
    return files


def stale(root: Path) -> list[str]:
    """The generated files below `root` that are missing, differ, or should not be there; a line each."""
    wanted = generated()
    found = []
    for path, text in wanted.items():
        if not (root / path).is_file():
            found.append(f"{path}: missing")
        elif (root / path).read_text() != text:
            found.append(f"{path}: differs from the models")
    for folder in (CRDS, CHART_CRDS):
        found += [
            f"{path.relative_to(root)}: no kind makes it"
            for path in sorted((root / folder).glob("*.yaml"))
            if path.relative_to(root) not in wanted
        ]
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Write or check; the exit status is 1 when a check found something."""
    parser = argparse.ArgumentParser(
        prog="python -m speechless_operator.crd", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if a file is not as it should be"
    )
    parser.add_argument("--root", type=Path, default=Path(), help="the repository's root (default: here)")
    arguments = parser.parse_args(argv)
    if arguments.check:
        problems = stale(arguments.root)
        for problem in problems:
            print(problem, file=sys.stderr)
        if problems:
            print("run: python -m speechless_operator.crd", file=sys.stderr)
        return 1 if problems else 0
    for path, text in generated().items():
        (arguments.root / path).parent.mkdir(parents=True, exist_ok=True)
        (arguments.root / path).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
