"""llama.cpp's tools for this machine's own tests, taken from the image that carries them.

    eval "$(python3 hack/llamacpp.py)"      sets SPEECHLESS_LLAMA_BIN and SPEECHLESS_LLAMA_SRC

The archive is what `hack/images.py` keeps; run that first. What is unpacked lies beside it and is used again.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

from images import BASE_IMAGE, archive


def unpack(file: Path, target: Path) -> None:
    """The files of an OCI archive's one image, layer by layer (OCI image layout 1.0); whole or not at all.

    Only for images whose layers add files: whiteouts, which remove some, are refused.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder, tarfile.open(file) as image:

        def blob(digest: str) -> tarfile.ExFileObject:
            found = image.extractfile(f"blobs/{digest.replace(':', '/')}")
            if found is None:
                raise ValueError(f"{file}: {digest} is not a file")
            return found  # type: ignore[return-value]

        index = image.extractfile("index.json")
        if index is None:
            raise ValueError(f"{file} is no OCI archive: it has no index.json")
        manifest = json.load(blob(json.load(index)["manifests"][0]["digest"]))
        if "manifests" in manifest:  # an index of platforms: this machine built one
            manifest = json.load(blob(manifest["manifests"][0]["digest"]))
        root = Path(folder, "root")
        for layer in manifest["layers"]:
            with tarfile.open(fileobj=blob(layer["digest"])) as files:
                for member in files:
                    _extract(files, member, root)
        shutil.rmtree(target, ignore_errors=True)
        root.rename(target)


def _extract(files: tarfile.TarFile, member: tarfile.TarInfo, root: Path) -> None:
    """One regular file, inside `root`. (tarfile's own filters are not in Debian 12's Python.)"""
    path = root / member.name
    if ".." in Path(member.name).parts or Path(member.name).is_absolute() or path.name.startswith(".wh."):
        raise ValueError(f"{member.name} is not a file to unpack")
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    content = files.extractfile(member) if member.isfile() else None
    if content is None:
        raise ValueError(f"{member.name} is neither a file nor a folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    with content, open(path, "wb") as out:
        shutil.copyfileobj(content, out)
    path.chmod(0o755 if member.mode & 0o100 else 0o644)


def ensure() -> Path:
    """The folder with bin/ and src/; unpacked now if it is not there."""
    kept = archive("llamacpp", BASE_IMAGE)
    target = kept.with_suffix("")
    if not target.is_dir():
        if not kept.exists():
            raise FileNotFoundError(f"{kept} is not there: `python3 hack/images.py --up llamacpp` builds it")
        unpack(kept, target)
    return target


def main() -> int:
    """Print the two settings as shell assignments."""
    try:
        folder = ensure()
    except (OSError, ValueError) as problem:
        print(f"llamacpp: {problem}", file=sys.stderr)
        return 1
    print(f"export SPEECHLESS_LLAMA_BIN={shlex.quote(str(folder / 'bin'))}")
    print(f"export SPEECHLESS_LLAMA_SRC={shlex.quote(str(folder / 'src'))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
