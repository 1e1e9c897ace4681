"""Shell scripts stop at the first error and at a variable that is not set, and can be run."""

import os

from tests.unit.layout.repository import ROOT, texts


def is_strict(script: str) -> bool:
    """Whether a shell script's first command is `set -eu`, perhaps with more."""
    commands = [line.strip() for line in script.splitlines() if line.strip() and not line.startswith("#")]
    return bool(commands) and commands[0].startswith("set -eu")


def scripts() -> dict[str, str]:
    """The shell scripts, by their first line; a file to be sourced has none and is not meant."""
    shells = ("#!/bin/sh", "#!/bin/bash", "#!/usr/bin/env bash", "#!/usr/bin/env sh")
    return {name: text for name, text in texts().items() if text.startswith(shells)}


def test_scripts_are_strict() -> None:
    assert {"hack/setup.sh", ".ci/run"} <= set(scripts())
    assert [name for name, text in scripts().items() if not is_strict(text)] == []


def test_scripts_can_be_run() -> None:
    assert [name for name in scripts() if not os.access(ROOT / name, os.X_OK)] == []


def test_files_called_sh_say_which_shell() -> None:
    assert [name for name in texts() if name.endswith(".sh") and name not in scripts()] == []


def test_a_careless_script_is_caught() -> None:
    assert not is_strict("#!/bin/sh\n# Do.\nmake\nset -eu\n")
    assert not is_strict("#!/bin/sh\nset -e\n")
    assert is_strict("#!/bin/sh\n# Do.\n\nset -euo pipefail\nmake\n")
