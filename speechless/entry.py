"""How a command begins and ends: its exit status, one line where a package is missing, and no module without effect."""

from __future__ import annotations

import importlib.util
import os
import re
import select
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from speechless.openmp import settle_threads

EXTRAS = {
    "train": ("accelerate", "datasets", "huggingface_hub", "peft", "torch", "transformers", "trl"),
    "eval": ("gguf", "jinja2", "markdown_it", "numpy", "safetensors"),
    "quantize": ("google", "sentencepiece", "tqdm", "yaml"),
    "serve": ("prometheus_client", "starlette", "uvicorn", "xllamacpp"),
    "operator": ("aiohttp", "kopf", "kubernetes", "orjson", "uvloop"),
    "bucket": ("obstore",),
    "track": ("mlflow", "tensorboard", "wandb"),
    "all": ("openai", "rich", "shtab"),
}
"""An extra of this distribution, and packages that come with it: the first that has a package is named."""
COMMANDS = {
    "finetune": "train",
    "tiny": "train",
    "data": "train",
    "generate": "serve",
    "eval": "eval",
    "quant": "quantize",
    "api": "serve",
    "quickstart": "all",
}
"""A command, and the extra that it needs."""
INSTEAD = {
    "speechless": "'speechless --help' lists the commands",
    "speechless.eval.perplexity": "'speechless quant llamacpp --verify_text FILE' measures perplexity",
    "speechless.finetune.finetune_dialog": "use 'python -m speechless.finetune.finetune'",
    "speechless.finetune.mlx": "training with MLX is not offered yet: 'speechless finetune' trains with PyTorch",
    "speechless.finetune.pretrain": "use 'speechless finetune pretrain', or "
    "'python -m speechless.finetune.finetune --objective pretrain'",
    "speechless.finetune.merge": "use 'speechless finetune merge', or "
    "'python -m speechless.finetune.merge_peft_adapters'",
    "speechless.generate.openai": "'speechless eval humaneval --base_url URL' scores a model behind an endpoint",
    "speechless.infer": "'speechless generate' puts a prompt to a model, 'speechless api start' serves it",
    "speechless.llamacpp": "'speechless quant llamacpp' converts a model to GGUF",
}
"""A module that is no command, or a package with all below it, and what to use. Below a command: that command."""
_PACKAGE = Path(__file__).parent
_GUARD = re.compile(r'^if __name__ == "__main__":', re.MULTILINE)


def missing(command: str, module: str) -> str:
    """The line for a module that is not installed.

    >>> missing("eval", "torch")
    "the package torch is not installed: pip install 'speechless-llm[eval]' brings it"
    """
    package = module.partition(".")[0]
    named = next((name for name, has in EXTRAS.items() if package in has), "all")
    # What a URI needs is of no command's extra.
    extra = named if named == "bucket" else COMMANDS.get(command, named)
    return f"the package {package} is not installed: pip install 'speechless-llm[{extra}]' brings it"


def guarded(command: str, main: Callable[[], int]) -> int:
    """Run a command. One line on standard error, and no traceback, for a missing package (1) and for Ctrl-C (130).

    Nothing is said where whoever reads the output has left (`... | head`): 141, as of a program that SIGPIPE ended.
    """
    settle_threads()
    try:
        status = main()
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        if not _reader_left():
            raise
        return 141
    except KeyboardInterrupt:
        print(f"speechless {command}: interrupted", file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] in ("speechless", "speechless_operator"):
            raise
        print(f"speechless {command}: {missing(command, error.name)}", file=sys.stderr)
        return 1


def _reader_left() -> bool:
    """Whether standard output is a pipe that nobody reads; then what is still to be written goes nowhere."""
    waiting = select.poll()
    try:
        waiting.register(sys.stdout.fileno(), select.POLLOUT)
    except (OSError, ValueError):  # no file at all, as under a test
        return False
    if not any(event & select.POLLERR for _, event in waiting.poll(0)):
        return False
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
    return True


def need(package: str) -> None:
    """Raise ModuleNotFoundError for a package that is used late, before any work is done."""
    if importlib.util.find_spec(package) is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)


def run(command: str, main: Callable[[], int]) -> NoReturn:
    """The same for `python -m`: ends the process."""
    sys.exit(guarded(command, main))


def refuse_library_module(name: str) -> None:
    """End `python -m NAME` with status 2 and one line, where NAME is a module of this package that is no command.

    Without this, Python runs such a module to its end, prints nothing and exits with 0. Nothing is imported for it.
    """
    if not name.startswith("speechless."):
        return
    place = _PACKAGE.parent.joinpath(*name.split("."))
    file = place / "__main__.py" if place.is_dir() else place.with_suffix(".py")
    if file.is_file() and (file.name == "__main__.py" or _GUARD.search(file.read_text(encoding="utf-8"))):
        return
    there = file.is_file() or place.is_dir()
    what = "a part of the library, not a command" if there else "not a part of this version"
    print(f"python -m {name}: {what}; {instead_of(name)}", file=sys.stderr)
    sys.exit(2)


def instead_of(name: str) -> str:
    """What to use instead of a module: what INSTEAD says of it or of a package above it, else the command above it.

    >>> instead_of("speechless.quant.files")
    "use 'speechless quant'"
    """
    while name not in INSTEAD:
        name = name.rpartition(".")[0]
        if _PACKAGE.parent.joinpath(*name.split("."), "__main__.py").is_file() and name != "speechless":
            return f"use '{name.replace('.', ' ')}'"
    return INSTEAD[name]
