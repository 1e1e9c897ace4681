"""The stage `fetch`: bring a source into the store as an artifact, so that it has a manifest and a digest."""

from collections.abc import Mapping
from pathlib import Path

from speechless.contract import FailureReason, FetchSpec, Format, Source
from speechless.errors import StageError
from speechless.progress import Reporter
from speechless.stage.frame import Definition, StageOutput
from speechless.store import Opened


def sources(spec: FetchSpec) -> Mapping[str, Source]:
    """The one source."""
    return {"source": spec.source}


def work(spec: FetchSpec, inputs: Mapping[str, Opened], folder: Path, reporter: Reporter) -> StageOutput:
    """Nothing to do but to tell what it is: publishing copies it."""
    opened = inputs["source"]
    return StageOutput(opened.path, opened.manifest.format if opened.manifest else format_of(opened.path))


def format_of(path: Path) -> Format:
    """What a folder or a file holds, by the files that make each format; StageError(MODEL_INVALID) if unknown."""
    names = {path.name} if path.is_file() else {entry.name for entry in path.iterdir()}
    if "adapter_config.json" in names:
        return Format.ADAPTER
    if "config.json" in names:
        return Format.HUGGING_FACE
    if any(name.endswith(".gguf") for name in names):
        return Format.GGUF
    if any(name.endswith((".jsonl", ".jsonl.gz", ".txt")) for name in names):
        return Format.DATASET
    raise StageError(
        FailureReason.MODEL_INVALID,
        f"{path.name}: neither a model nor a dataset",
        "a model has config.json, adapter_config.json or a .gguf file; a dataset has .jsonl, .jsonl.gz or .txt files",
    )


STAGE = Definition(sources, work)
