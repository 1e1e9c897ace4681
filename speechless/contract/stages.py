"""What every stage is told: whose run it is, where its inputs are, and where its output goes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from speechless.contract import storage
from speechless.contract.model import ATOMIC, ContractModel, Digest

Uri = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+://.+$", max_length=2048)]


CONFIG = r"^[^<>:/\\|?*\x00-\x1f]+$"
"""Of a dataset's configuration: what `datasets` lets be one."""
_ONE = r"\w+(\.\w+)*(\[(-?[0-9_]+%?)?:(-?[0-9_]+%?)?\])?"
SPLIT = rf"^{_ONE}( *\+ *{_ONE})*$"
"""Of a split, of a slice of one, and of several: what `datasets` takes."""


class StageName(StrEnum):
    """The stages there are."""

    FETCH = "fetch"
    FINETUNE = "finetune"
    EVALUATE = "evaluate"
    QUANTIZE = "quantize"
    SERVE = "serve"


STAGE_IMAGES: dict[StageName, str] = {
    StageName.FINETUNE: "train",
    StageName.EVALUATE: "eval",
    StageName.QUANTIZE: "quantize",
}
"""The image (a folder of images/) that a stage runs in. A service's is its engine's: `engines.images()`."""


class RunIdentity(ContractModel):
    """Whose run this is; recorded in the artifact, never used as a path."""

    namespace: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    spec_hash: str = ""


class SecretReference(ContractModel):
    """A Secret of the same namespace."""

    name: Annotated[
        str,
        StringConstraints(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"),
    ]
    """Its name."""


Patterns = Annotated[
    tuple[Annotated[str, StringConstraints(min_length=1, max_length=256)], ...], Field(max_length=64), ATOMIC
]
"""Of names of files, as a shell's: `*.json`, `original/*`."""


class SourceOptions(ContractModel):
    """What may be said of an input beside where it is."""

    digest: Digest | None = None
    """The digest that it must have. Without it, the digest of what was read is recorded. A model behind a gate needs
    it."""
    wait_seconds: Annotated[int, Field(ge=0, le=86_400)] | None = None
    """Seconds that the pod waits until uri exists. It must appear complete, by a rename. Without it, a missing uri is
    an error at once."""
    secret_ref: SecretReference | None = None
    """The Secret with what reading it needs: a token, keys, an endpoint. Only the stage's container gets it, as files.
    Which keys are read depends on the scheme of uri (docs: how-to, storage)."""
    include: Patterns = ()
    """Read these files alone: patterns of their names below uri, such as `*.safetensors`. A star takes slashes, too.
    Without any, all are read. A claim's path takes none: name the folder."""
    exclude: Patterns = ()
    """Leave these files out, also of those in include."""

    @model_validator(mode="after")
    def _chooses(self) -> SourceOptions:
        uri = getattr(self, "uri", None)
        if (self.include or self.exclude) and uri and (problem := storage.choice_problem(uri)):
            raise ValueError(problem)
        return self


class Source(SourceOptions):
    """An input: where it is and, when it is known, what it must digest to.

    The schemes are the rows of `storage.SCHEMES`. A folder with a manifest is verified against it; one without is
    digested as it is read, and the digest recorded.
    """

    uri: Uri
    """Where it is."""


class DataSource(Source):
    """Data: a file, a folder, or a part of a dataset that has parts as those of a hub have them."""

    config: Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=CONFIG)] | None = None
    """Of a dataset's folder: which of its configurations, as `datasets` calls them (of GSM8K: `main` or `socratic`).
    Needed where it has several."""
    split: Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=SPLIT)] | None = None
    """Of a dataset's folder: which of its splits, such as `train` or `test`; also `train[:10%]` and `train+validation`.
    Needed where it has several."""


class Stage(ContractModel):
    """What every stage is told."""

    version: Literal["v1"] = "v1"
    run: RunIdentity = RunIdentity()
    mounts: dict[str, str] = {}
    """A claim's name, or an image's reference, to the folder of its mount: how `pvc://claim/path` becomes a path."""
    secrets: dict[str, str] = {}
    """Secret name to the folder where it is mounted, a file a key: what `secretRef` means."""
    work_dir: str = "/work"
    """Scratch space of this attempt."""


class Publishing(Stage):
    """A stage that ends with an artifact."""

    output: Uri
    """Where the artifact goes; a folder that is made by the stage."""
    output_secret_ref: SecretReference | None = None
    """The Secret with what writing there needs."""


class FetchSpec(Publishing):
    """Copy a source into the store as an artifact."""

    stage: Literal[StageName.FETCH] = StageName.FETCH
    source: Source
