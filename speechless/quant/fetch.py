"""llama.cpp's converter from the package index: the source of llama-cpp-python, of which nothing is built.

llama.cpp publishes its converter nowhere but in its source. The package llama-cpp-python carries that source, so it can
be had wherever Python packages can, through the index, proxy and certificates that pip is set up with.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from speechless.contract import FailureReason
from speechless.environment import caches
from speechless.errors import StageError

VERSION = "0.3.36"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
REQUIREMENT = f"llama-cpp-python=={VERSION} --hash=sha256:{SHA256}"
"""The same as in images/llamacpp/source.txt."""
PARTS = ("LICENSE", "convert_hf_to_gguf.py", "conversion", "gguf-py")
MIB = 73
"""What is downloaded."""


def cache_folder() -> Path:
    """Where it is kept."""
    return caches() / f"llama.cpp-converter-{VERSION}"


def fetch() -> Path:
    """Download and unpack the converter, unless it is there; the folder. It is whole or it is not there.

    `StageError` where pip cannot get it; the message has pip's last line.
    """
    target = cache_folder()
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".converter-") as name:
            scratch = Path(name)
            source = _download(scratch)
            _unpack(source, scratch / "converter")
            os.replace(scratch / "converter", target)
    except OSError as problem:
        raise StageError(
            FailureReason.STORE_UNAVAILABLE, f"llama.cpp's converter cannot be kept in {target}: {problem}"
        ) from problem
    return target


def _download(folder: Path) -> Path:
    wanted = folder / "requirement.txt"
    wanted.write_text(REQUIREMENT + "\n")
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    argv += ["--no-binary", "llama-cpp-python", "--require-hashes", "--dest", str(folder), "-r", str(wanted)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    found = next(folder.glob("*.tar.gz"), None)
    if done.returncode != 0 or found is None:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in said if line.startswith("ERROR")] or said
        raise StageError(
            FailureReason.INPUT_NOT_FOUND,
            f"llama.cpp's converter was not downloaded: {errors[-1] if errors else 'pip said nothing'}",
            "pip must reach a package index; or set SPEECHLESS_LLAMA_SRC to a folder with llama.cpp's source.",
        )
    return found


def _unpack(archive: Path, target: Path) -> None:
    """The converter's files of the source. The archive's hash was checked by pip."""
    beginning = f"llama_cpp_python-{VERSION}/vendor/llama.cpp/"
    with tarfile.open(archive) as files:
        for member in files:
            name = member.name.removeprefix(beginning)
            if name == member.name or name.split("/")[0] not in PARTS or not member.isfile():
                continue
            content = files.extractfile(member)
            if content is None or ".." in Path(name).parts:
                raise ValueError(f"{member.name} is not a file to unpack")
            place = target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            with content, place.open("wb") as out:
                shutil.copyfileobj(content, out)
