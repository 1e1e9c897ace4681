"""The stage `fetch`: bring a source into the store as an artifact, so that it has a manifest and a digest."""

from collections.abc import Mapping
from pathlib import Path

from speechless.contract import FetchSpec, Source
from speechless.progress import Reporter
from speechless.stage.frame import Definition, StageOutput
from speechless.store import Opened
from speechless.store.formats import format_of


def sources(spec: FetchSpec) -> Mapping[str, Source]:
    """The one source."""
    return {"source": spec.source}


def work(spec: FetchSpec, inputs: Mapping[str, Opened], folder: Path, reporter: Reporter) -> StageOutput:
    """Nothing to do but to tell what it is: publishing copies it."""
    opened = inputs["source"]
    told = opened.manifest
    return StageOutput(
        opened.path, told.format if told else format_of(opened.path), model=told.model if told else None
    )


STAGE = Definition(sources, work)
