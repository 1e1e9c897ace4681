"""`hack/setup.sh` makes an environment of this checkout, and touches no other."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.unit.layout.repository import ROOT

PARTS = (
    "hack/setup.sh", "hack/ensure-python.sh", "requirements/uv.txt", "requirements/dev.txt", "pyproject.toml",
    "speechless/__init__.py",
)  # fmt: skip


def test_the_environment_of_another_checkout_is_left_alone(tmp_path: Path) -> None:
    for part in PARTS:
        (tmp_path / "checkout" / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / part, tmp_path / "checkout" / part)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "setup-place").write_text("/another/checkout\n")
    (tmp_path / "checkout" / ".venv").symlink_to(theirs)
    # Nothing can be installed: what is tried is what happens before.
    nowhere = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "no-wheels"), "PIP_NO_INPUT": "1"}
    done = subprocess.run(
        ["sh", "hack/setup.sh"],
        cwd=tmp_path / "checkout",
        env=os.environ | nowhere,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 1
    assert "could not be made" in done.stderr
    assert [path.name for path in theirs.iterdir()] == ["setup-place"]
    made = tmp_path / "checkout" / ".venv"
    assert not made.is_symlink()
    assert (made / "bin" / "python").exists()
