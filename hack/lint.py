"""The checks of `make lint`, one by one or all: `.venv/bin/python hack/lint.py [format] [style] [types] [layers]`.

All that are asked for run, also after one has failed; the exit status is 1 if any failed. Settings are in
pyproject.toml (ruff, mypy) and .importlinter.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.prefix) / "bin"

# Checked by `mypy --strict`, as glob patterns: what is not here yet is checked from the day it comes.
TYPED = (
    "speechless/*.py",
    "speechless/contract",
    "speechless/store",
    "operator/speechless_operator",
    "hack/*.py",
    "hack/cluster",
    "hack/demo",
)


def commands() -> dict[str, list[str]]:
    """Return each check's name and its argument list."""
    typed = sorted(str(path.relative_to(ROOT)) for pattern in TYPED for path in ROOT.glob(pattern))
    return {
        "format": [f"{BIN}/ruff", "format", "--check", "--output-format", "concise", "."],
        "style": [f"{BIN}/ruff", "check", "--output-format", "concise", "."],
        "types": [f"{BIN}/mypy", "--strict", "--no-error-summary", *typed],
        "layers": [f"{BIN}/lint-imports", "--no-logo"],
    }


def main(argv: list[str]) -> int:
    """Run the checks named on the command line (all, if none is named) and return the exit status."""
    checks = commands()
    unknown = [name for name in argv if name not in checks]
    if unknown:
        print(f"lint: there is no check {unknown[0]}; the checks: {' '.join(checks)}", file=sys.stderr)
        return 2
    failed = []
    for name in argv or checks:
        print(f"lint: {name}", flush=True)
        if subprocess.run(checks[name], cwd=ROOT, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"lint: failed: {' '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
