"""The files of an artifact as a manifest of a registry, and back. Pure.

The layout is ModelPack's, a file a layer and no archives: https://github.com/modelpack/model-spec/blob/main/docs/spec.md.
A layer has its file's name twice, as `modctl` and as `oras` read it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from speechless.contract import MANIFEST_NAME, FailureReason, FileEntry, Manifest, ModelInfo
from speechless.contract.modelinfo import param_size
from speechless.errors import StageError
from speechless.store.registry import MANIFEST_TYPE

ARTIFACT_TYPE = "application/vnd.cncf.model.manifest.v1+json"
CONFIG_TYPE = "application/vnd.cncf.model.config.v1+json"
CHECKPOINT_TYPE = "application/vnd.speechless.checkpoint.v1+json"
NAMES = ("org.cncf.model.filepath", "org.opencontainers.image.title")
"""Annotations of a layer that name its file; the first that is there counts."""
PRECISION = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "float64": "fp64"}
"""What ModelPack calls torch's types."""
TREE = "dev.speechless.digest"
"""Annotation of a manifest: the artifact's digest, for people."""
_PREFIX = "application/vnd.cncf.model."
_FOLDER = "application/vnd.oci.image.layer.v1.tar+gzip"
"""What `oras` gives a folder, which it packs. Its type for a file may end in `.tar`, too, and the file is none."""
IMAGES = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
"""Types of the configuration of a container image."""
_KINDS = (
    ("weight", (".safetensors", ".gguf", ".bin", ".pt", ".pth", ".onnx")),
    ("dataset", (".jsonl", ".csv", ".tsv", ".parquet", ".gz", ".zst")),
    ("code", (".py", ".sh")),
    ("doc", (".md", ".rst", ".pdf", "LICENSE", "NOTICE", "README", MANIFEST_NAME)),
    ("weight.config", ("",)),
)
"""Kinds of layers, each with the ends of the names of its files; the first that fits counts."""


@dataclass(frozen=True)
class Layer:
    """A file in a registry."""

    name: str
    digest: str
    size: int
    archive: bool = False
    """Whether it is an archive of files."""


def digest_of(content: bytes) -> str:
    """What a registry calls these bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def kind_of(name: str) -> str:
    """The kind of layer that a file is.

    >>> kind_of("model.safetensors"), kind_of("sub/config.json"), kind_of("README.md")
    ('weight', 'weight.config', 'doc')
    """
    base = PurePosixPath(name).name
    return next(kind for kind, ends in _KINDS if base.endswith(ends))


def config_of(manifest: Manifest) -> bytes:
    """ModelPack's configuration of an artifact (docs/config.md of the specification); licences as the card has them."""
    files = [f"sha256:{entry.sha256}" for entry in manifest.files]
    model = manifest.model or ModelInfo()
    about = {
        "createdAt": manifest.created_at,
        "licenses": [model.license] if model.license else None,
    }
    technical = {
        "format": str(manifest.format),
        "paramSize": param_size(model.parameters) if model.parameters else None,
        "precision": PRECISION.get(model.dtype, model.dtype) if model.dtype else None,
        "quantization": model.quantization.method if model.quantization else None,
    }
    told = {
        "descriptor": {name: value for name, value in about.items() if value},
        "config": {name: value for name, value in technical.items() if value},
        "modelfs": {"type": "layers", "diffIds": files},
    }
    return json.dumps(told, sort_keys=True).encode()


def manifest_of(manifest: Manifest, text: bytes) -> bytes:
    """The registry's manifest of an artifact; `text` is its `speechless.json`, which is one more file of it."""
    files = [_layer(entry, f"{_PREFIX}{kind_of(entry.path)}.v1.raw") for entry in manifest.files]
    ours = FileEntry(path=MANIFEST_NAME, size=len(text), sha256=hashlib.sha256(text).hexdigest())
    files.append(_layer(ours, f"{_PREFIX}{kind_of(MANIFEST_NAME)}.v1.raw"))
    notes = {TREE: manifest.digest}
    if manifest.created_at:
        notes["org.opencontainers.image.created"] = manifest.created_at
    return _whole(ARTIFACT_TYPE, CONFIG_TYPE, config_of(manifest), files, notes)


def checkpoint_of(files: Sequence[FileEntry], marker: bytes) -> bytes:
    """The registry's manifest of a checkpoint; the marker is its configuration, so that it is read before the files."""
    layers = [_layer(entry, "application/octet-stream") for entry in files]
    return _whole(CHECKPOINT_TYPE, CHECKPOINT_TYPE, marker, layers, {})


def _layer(entry: FileEntry, media: str) -> dict[str, Any]:
    return {
        "mediaType": media,
        "digest": f"sha256:{entry.sha256}",
        "size": entry.size,
        "annotations": dict.fromkeys(NAMES, entry.path),
    }


def _whole(
    artifact: str, config: str, content: bytes, layers: Sequence[Mapping[str, Any]], notes: Mapping[str, str]
) -> bytes:
    told = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": artifact,
        "config": {"mediaType": config, "digest": digest_of(content), "size": len(content)},
        "layers": list(layers),
        **({"annotations": dict(notes)} if notes else {}),
    }
    return json.dumps(told, indent=1).encode()


def layers_of(told: Mapping[str, Any]) -> dict[str, Layer]:
    """The files that a registry's manifest holds, by name; StageError for one that holds none, such as an image's."""
    media = str(told.get("mediaType", MANIFEST_TYPE))
    if "index" in media or "manifest.list" in media:
        raise _unfit(
            "is an index of several manifests, one for each platform", "name one of them by its digest"
        )
    config = told.get("config")
    if isinstance(config, dict) and config.get("mediaType") in IMAGES:
        hint = "push the files as an artifact, such as by `speechless store publish` or `oras push`"
        raise _unfit("is a container image", hint)
    found: dict[str, Layer] = {}
    layers = told.get("layers")
    for number, layer in enumerate(layers if isinstance(layers, list) else ()):
        one = _read(layer, number)
        if one.name in found:
            raise _unfit(f"has {one.name!r} twice", "push it anew")
        found[one.name] = one
    if not found:
        raise _unfit("has no layers", "push the files as an artifact, such as by `speechless store publish`")
    return found


def _read(layer: Any, number: int) -> Layer:
    try:
        media, digest, size = str(layer["mediaType"]), str(layer["digest"]), int(layer["size"])
        notes = layer.get("annotations") or {}
        name = next((str(notes[key]) for key in NAMES if notes.get(key)), "")
    except (KeyError, TypeError, ValueError, AttributeError):
        raise _unfit(f"has a layer {number} without type, digest or size", "push it anew") from None
    algorithm, _, hexadecimal = digest.partition(":")
    if algorithm != "sha256" or len(hexadecimal) != 64 or size < 0:
        raise _unfit(f"has a layer {number} that is not named by SHA-256", "push it anew")
    archive = media == _FOLDER or (media.startswith(_PREFIX) and ".tar" in media)
    if not name and not archive:
        hint = "push its files with their names, such as by `speechless store publish` or `oras push`"
        raise _unfit(f"has a layer {number} without a file name (org.cncf.model.filepath)", hint)
    if archive and media.endswith("+zstd"):
        raise _unfit(f"has a layer {number} that is a Zstandard archive", "push its files without an archive")
    return Layer(name or f"layer-{number}", digest, size, archive)


def _unfit(what: str, hint: str) -> StageError:
    return StageError(FailureReason.MODEL_INVALID, f"it {what}", hint)
