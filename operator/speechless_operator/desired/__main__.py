"""`python -m speechless_operator.desired [--check]`: write the chart's rules, or check that they are fresh.

Run from the repository's root. Written: `charts/speechless/files/rules.yaml`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from speechless_operator.desired.rbac import rules

FILE = Path("charts/speechless/files/rules.yaml")
HEADER = "# Made from desired/children.py by `python -m speechless_operator.desired`. Do not edit.\n"


def text() -> str:
    """The file as it should be."""
    return HEADER + yaml.safe_dump(rules(), sort_keys=False, default_flow_style=None, width=120)


def main(argv: Sequence[str] | None = None) -> int:
    """Write or check; the exit status is 1 when the file is not as it should be."""
    parser = argparse.ArgumentParser(
        prog="python -m speechless_operator.desired", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if the file is not as it should be"
    )
    parser.add_argument("--root", type=Path, default=Path(), help="the repository's root (default: here)")
    arguments = parser.parse_args(argv)
    file = arguments.root / FILE
    if not arguments.check:
        file.write_text(text())
        return 0
    if file.is_file() and file.read_text() == text():
        return 0
    print(
        f"{FILE}: differs from the table of child kinds; run: python -m speechless_operator.desired",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
