"""How a command ends: its exit status, and one line where a package is missing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

EXTRAS = {
    "train": ("accelerate", "datasets", "peft", "torch", "transformers", "trl"),
    "eval": ("gguf", "jinja2", "numpy", "safetensors"),
    "quantize": ("google", "sentencepiece", "tqdm", "yaml"),
    "serve": ("prometheus_client", "starlette", "uvicorn", "xllamacpp"),
    "operator": ("aiohttp", "kopf", "kubernetes", "orjson", "uvloop"),
    "all": ("openai", "rich"),
}
"""An extra of this distribution, and packages that come with it: the first that has a package is named."""
COMMANDS = {
    "finetune": "train",
    "tiny": "train",
    "eval": "eval",
    "quant": "quantize",
    "api": "serve",
    "quickstart": "all",
}
"""A command, and the extra that it needs."""


def missing(command: str, module: str) -> str:
    """The line for a module that is not installed.

    >>> missing("eval", "torch")
    "the package torch is not installed: pip install 'speechless-llm[eval]' brings it"
    """
    package = module.partition(".")[0]
    extra = COMMANDS.get(command) or next((name for name, has in EXTRAS.items() if package in has), "all")
    return f"the package {package} is not installed: pip install 'speechless-llm[{extra}]' brings it"


def guarded(command: str, main: Callable[[], int]) -> int:
    """Run a command; a package that is not installed is one line on standard error, and exit status 1."""
    try:
        return main()
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] in ("speechless", "speechless_operator"):
            raise
        print(f"speechless {command}: {missing(command, error.name)}", file=sys.stderr)
        return 1


def run(command: str, main: Callable[[], int]) -> NoReturn:
    """The same for `python -m`: ends the process."""
    sys.exit(guarded(command, main))
