"""What the environment says of places: where a relative path is looked for, and where caches are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

TEST_MODEL = "TEST_MODEL_PATH"
"""Variable: the model that is evaluated and served where no flag names one."""


class Root(NamedTuple):
    """A folder that a variable names."""

    variable: str
    default: str

    def folder(self) -> Path:
        """The folder; a variable that is empty counts as unset."""
        return Path(os.environ.get(self.variable) or self.default)

    def find(self, path: Path) -> Path:
        """The path below the folder, if it is relative, not here, and there; else the path itself."""
        below = self.folder() / path
        return path if path.is_absolute() or path.exists() or not below.exists() else below


MODELS = Root("MODELS_ROOT_DIR", "/opt/local/llm_models/huggingface.co")
DATA = Root("SPEECHLESS_DATA_DIR", "/opt/local/datasets/speechless_data")


def caches() -> Path:
    """Where this project keeps what it can get again: $XDG_CACHE_HOME/speechless, or ~/.cache/speechless."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "speechless"


def default_model() -> str | None:
    """What TEST_MODEL_PATH names."""
    return os.environ.get(TEST_MODEL) or None
