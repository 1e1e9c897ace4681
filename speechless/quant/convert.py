"""From a Hugging Face folder to a GGUF file, by llama.cpp's own converter."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from speechless.contract import FailureReason, GgufType
from speechless.errors import StageError
from speechless.generate.llamacpp.tools import run_tool, tail
from speechless.models.gguf import read_header
from speechless.quant import fetch

CONVERTER = "convert_hf_to_gguf.py"
WRITTEN = re.compile(r"Writing:\s+(\d+)%")
"""The converter's own bar."""
SOURCE_VARIABLES = ("SPEECHLESS_LLAMA_SRC", "LLAMACPP_ROOT")
SOURCE_FOLDERS = ("/opt/llama.cpp", "~/llama.cpp")


def find_source(given: Path | None = None) -> Path:
    """The folder with llama.cpp's converter: the given one, those of the environment, then the usual places.

    A folder that was named, and holds no converter, is an error: another one must not take its place.
    """
    named = [("--llamacpp_root", str(given))] if given else []
    named += [(name, os.environ[name]) for name in SOURCE_VARIABLES if os.environ.get(name)]
    for where, folder in named[:1]:
        if not _is_source(Path(folder)):
            raise StageError(
                FailureReason.INPUT_NOT_FOUND,
                f"{where}={folder}: no {CONVERTER} with its conversion/ and gguf-py/ in this folder",
                "Name a folder with llama.cpp's source.",
            )
        return Path(folder)
    for usual in (*(Path(folder).expanduser() for folder in SOURCE_FOLDERS), fetch.cache_folder()):
        if _is_source(usual):
            return usual
    raise StageError(
        FailureReason.INPUT_NOT_FOUND,
        f"llama.cpp's converter was not found: no {CONVERTER} in {', '.join(SOURCE_FOLDERS)} or {fetch.cache_folder()}",
        "'speechless quant converter' downloads it. SPEECHLESS_LLAMA_SRC names a folder with llama.cpp's source.",
    )


def convert(
    model: Path,
    target: Path,
    *,
    type: GgufType = GgufType.F16,
    source: Path | None = None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Write `target`, a GGUF file of type F16 or Q8_0. It is whole or it is not there. `progress` gets percents."""
    folder = find_source(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    # The child imports nothing of this package: only the standard library and what the converter needs.
    argv = [
        sys.executable,
        str(Path(__file__).with_name("converter_main.py")),
        str(folder),
        str(model),
        str(partial),
        type.value.lower(),
    ]
    try:
        status, output = run_tool(
            argv,
            on_output=follow(WRITTEN, progress),
            stopping=stopping,
            environment={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        )
        if status != 0 or not partial.is_file():
            raise StageError(
                FailureReason.MODEL_INVALID,
                f"{model.name}: llama.cpp's converter failed with exit status {status}\n{tail(output)}",
                "The last lines are its own log. llama.cpp must know the architecture and the tokenizer.",
            )
        read_header(partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def follow(pattern: re.Pattern[str], progress: Callable[[int, int], None]) -> Callable[[str], None]:
    """Take a tool's output in pieces and report what it says last of its progress: done, and of how many (or 100)."""
    rest, last = "", (-1, 0)

    def take(piece: str) -> None:
        nonlocal rest, last
        rest = (rest + piece)[-4096:]
        for found in pattern.findall(rest)[-1:]:
            now = (int(found[0]), int(found[1])) if isinstance(found, tuple) else (int(found), 100)
            if now != last:
                last = now
                progress(*now)

    return take


def _is_source(folder: Path) -> bool:
    return all((folder / name).exists() for name in (CONVERTER, "conversion", "gguf-py"))
